// Streams, events and graphs. Work runs when it is enqueued, or is kept where the stream is being captured.
#include <chrono>

#include "cuda/emulation/state.h"

using ns::emulation::standing;
using ns::emulation::state;
using ns::emulation::streamOf;
using ns::emulation::tell;

namespace {
using Lock = std::lock_guard<std::recursive_mutex>;
std::vector<CUstream_st*>& captures() {
  static auto* all = new std::vector<CUstream_st*>;
  return *all;
}
}  // namespace

namespace ns::emulation {

CUstream_st& streamOf(cudaStream_t stream) {
  const auto value = reinterpret_cast<uintptr_t>(stream);
  return value <= 2 ? state().legacy : *stream;
}

cudaError_t unsafe() {
  for (CUstream_st* s : captures()) {
    if (s->mode == cudaStreamCaptureModeRelaxed) continue;
    s->invalidated = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work) {
  CUstream_st& s = streamOf(stream);
  if (!s.capturing) return work();
  if (s.invalidated) return cudaErrorStreamCaptureInvalidated;
  s.recorded.push_back(std::move(work));
  return cudaSuccess;
}

}  // namespace ns::emulation

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  const Lock lock(state().lock);
  *stream = nullptr;
  if (standing() != cudaSuccess) return tell(standing());
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(state().lock);
  if (reinterpret_cast<uintptr_t>(stream) <= 2) return tell(cudaErrorInvalidResourceHandle);
  auto& all = captures();
  for (size_t i = 0; i < all.size(); i++)
    if (all[i] == stream) all.erase(all.begin() + static_cast<std::ptrdiff_t>(i--));
  delete stream;
  return tell(standing());
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(state().lock);
  CUstream_st& s = streamOf(stream);
  if (s.capturing) {
    s.invalidated = true;
    return tell(cudaErrorStreamCaptureUnsupported);
  }
  return tell(standing());
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }
cudaError_t cudaDeviceSynchronize() {
  const Lock lock(state().lock);
  if (const cudaError_t e = ns::emulation::unsafe(); e != cudaSuccess) return tell(e);
  return tell(standing());
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(state().lock);
  if (!event) return tell(cudaErrorInvalidResourceHandle);
  if (event->captured && !streamOf(stream).capturing) return tell(cudaErrorStreamCaptureIsolation);
  return tell(standing());
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* data) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  return tell(ns::emulation::enqueue(stream, [=] {
    fn(data);
    return cudaSuccess;
  }));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(state().lock);
  *event = nullptr;
  if (standing() != cudaSuccess) return tell(standing());
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(state().lock);
  if (!event) return tell(cudaErrorInvalidResourceHandle);
  delete event;
  return tell(standing());
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(state().lock);
  if (!event) return tell(cudaErrorInvalidResourceHandle);
  if (standing() != cudaSuccess) return tell(standing());
  event->recorded = true;
  event->captured = streamOf(stream).capturing;
  event->at = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(state().lock);
  if (!event) return tell(cudaErrorInvalidResourceHandle);
  if (event->captured) return tell(cudaErrorCapturedEvent);
  return tell(standing());
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  const Lock lock(state().lock);
  if (!begin || !end || !begin->recorded || !end->recorded) return tell(cudaErrorInvalidResourceHandle);
  *ms = static_cast<float>((end->at - begin->at) * 1e3);
  return tell(standing());
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (reinterpret_cast<uintptr_t>(stream) <= 2) return tell(cudaErrorStreamCaptureUnsupported);
  if (stream->capturing) return tell(cudaErrorInvalidValue);
  stream->capturing = true;
  stream->invalidated = false;
  stream->mode = mode;
  stream->recorded.clear();
  captures().push_back(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(state().lock);
  *graph = nullptr;
  CUstream_st& s = streamOf(stream);
  if (!s.capturing) return tell(cudaErrorInvalidValue);
  s.capturing = false;
  auto& all = captures();
  for (size_t i = 0; i < all.size(); i++)
    if (all[i] == &s) all.erase(all.begin() + static_cast<std::ptrdiff_t>(i--));
  auto nodes = std::move(s.recorded);
  s.recorded.clear();
  if (s.invalidated) return tell(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::move(nodes)};
  return tell(standing());
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock(state().lock);
  const CUstream_st& s = streamOf(stream);
  *status = !s.capturing ? cudaStreamCaptureStatusNone : s.invalidated ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  *mode = cudaStreamCaptureModeGlobal;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Lock lock(state().lock);
  *exec = nullptr;
  if (standing() != cudaSuccess) return tell(standing());
  if (!graph) return tell(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return tell(standing()); }
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (!exec) return tell(cudaErrorInvalidValue);
  return tell(ns::emulation::enqueue(stream, [nodes = exec->nodes] {
    for (const auto& node : nodes)
      if (const cudaError_t e = node(); e != cudaSuccess) return e;
    return cudaSuccess;
  }));
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  if (!graph) return tell(cudaErrorInvalidValue);
  *count = graph->nodes.size();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
