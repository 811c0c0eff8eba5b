// Captures: a sequence of commands is executed and recorded once, and then executed again by one command, as a graph where the device can.
#include "native/core/worker.h"

namespace ns::core {

void Engine::Worker::captureBegin(uint32_t id) {
  if (recording_ || captures_.count(id)) {
    fail(failure(NS_INVALID, "capture %u begins within another one or exists already", id), "capture", "");
    return;
  }
  auto capture = std::make_unique<Capture>(slots_, *e_.memory_);
  Capture* const raw = capture.get();
  captures_.emplace(id, std::move(capture));
  recording_ = raw;
  recordingId_ = id;
  slots_.record(raw->arena());
}

void Engine::Worker::captureEnd(uint32_t id) {
  if (!recording_ || recordingId_ != id) {
    fail(failure(NS_INVALID, "capture %u has not begun", id), "capture", "");
    return;
  }
  Capture& capture = *recording_;
  stopRecording();
  if (!capture.broken && !capture.calls().empty() && table_.graph_begin && !e_.errors_.lost()) toGraph(capture);
}

void Engine::Worker::stopRecording() {
  slots_.record(nullptr);
  recording_->finish();
  recording_ = nullptr;
}

// The calls have run once: libraries are set up and scratch memory has its size. Now they are enqueued again into a graph, which
// executes nothing, so that what works in place works once. A device that cannot record them replays them one by one.
void Engine::Worker::toGraph(Capture& capture) {
  Status status, ended;
  table_.graph_begin(e_.self_, &status);
  if (!status.ok()) return;
  for (const RecordedCall& recorded : capture.calls()) {
    const NsCall call = recorded.call();
    table_.execute(e_.self_, &call, &status);
    if (!status.ok()) break;
  }
  capture.graph = table_.graph_end(e_.self_, &ended);
  if (status.ok() && ended.ok()) return;
  if (capture.graph) table_.graph_release(e_.self_, capture.graph);
  capture.graph = nullptr;
  for (const Status& s : {status, ended}) {
    if (s.code == NS_LOST) capture.broken = fail(s, "capture", "");
  }
}

void Engine::Worker::replay(const Command& c) {
  const uint32_t id = c.params[0];
  const auto found = captures_.find(id);
  if (found == captures_.end() || found->second.get() == recording_) {
    fail(failure(NS_INVALID, "capture %u does not exist or is being recorded", id), "replay", "");
    return;
  }
  Capture& capture = *found->second;
  Status status;
  ErrorPtr error = e_.errors_.lost();
  if (!error) error = capture.blocked(status);
  if (!error && !status.ok()) error = fail(status, "replay", "");
  if (!error && recording_) error = recording_->broken = fail(failure(NS_INVALID, "a capture cannot contain another one"), "replay", "");
  if (!error && isCancelled(c.group)) error = cancelled("replay");
  if (error) return capture.poison(error, 0);
  (capture.graph ? e_.counters_.graphReplays : e_.counters_.callReplays)++;
  if (capture.graph) return launch(capture);
  runCalls(capture);
}

void Engine::Worker::launch(Capture& capture) {
  Status status;
  table_.graph_launch(e_.self_, capture.graph, &status);
  if (!status.ok()) return capture.poison(fail(status, "replay", ""), 0);
  capture.heal();
}

void Engine::Worker::runCalls(Capture& capture) {
  const std::vector<RecordedCall>& calls = capture.calls();
  for (size_t i = 0; i < calls.size() && !e_.stop_; i++) {
    Status status;
    const NsCall call = calls[i].call();
    invoke(call, status);
    if (status.code == NS_OUT_OF_MEMORY && op::kInfo[call.op - op::kFirstId].mutated == 0) {
      e_.memory_->trim();
      status = Status();
      invoke(call, status);
    }
    if (!status.ok()) return capture.poison(fail(status, opName(calls[i].op), calls[i].shapes()), i);
  }
  capture.heal();
}

void Engine::Worker::release(Capture& capture) {
  if (capture.graph) table_.graph_release(e_.self_, capture.graph);
  capture.graph = nullptr;
}

void Engine::Worker::drop(uint32_t id) {
  const auto found = captures_.find(id);
  if (found == captures_.end()) return;
  if (found->second.get() == recording_) stopRecording();
  release(*found->second);
  captures_.erase(found);
}

}  // namespace ns::core
