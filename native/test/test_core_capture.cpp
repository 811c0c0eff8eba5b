// Captures and the thread that finishes reads: memory, faults at every point, engines that end in the middle.
#include <cstring>
#include <thread>

#include "native/test/core_check.h"

using namespace ns;
using namespace ns::test;

namespace {

Words control(uint32_t op, uint32_t id) { return command(op, {}, {}, {id}); }

core::TensorInfo vec(uint32_t n) {
  core::TensorInfo t;
  t.ndim = 1;
  t.dims[0] = n;
  return t;
}

// Slot 0 is outside; 1 is a temporary, 2 the output.
void capture(Rig& rig, uint32_t id) {
  rig.submit(control(core::kCaptureBegin, id));
  rig.submit(affine({0, 1}, {1, 1}, 64));
  rig.submit(affine({1, 1}, {2, 1}, 64));
  rig.submit(accumulate({0, 1}, {1, 1}));
  rig.submit(dispose({1, 1}));
  rig.submit(control(core::kCaptureEnd, id));
}

void testReplay() {
  for (const char* options : {"", "{\"graphs\":1}", "{\"graphs\":1,\"asyncCopies\":1}"}) {
    Rig rig(options), eager;
    for (Rig* r : {&rig, &eager}) r->submit(fill({0, 1}, 64));
    capture(rig, 5);
    for (int i = 0; i < 4; i++) {
      uint32_t got[64] = {}, want[64] = {};
      eager.submit(affine({0, 1}, {1, 1}, 64));
      eager.submit(affine({1, 1}, {2, 1}, 64));
      eager.submit(accumulate({0, 1}, {1, 1}));
      for (const core::SlotRef ref : {core::SlotRef{0, 1}, core::SlotRef{2, 1}}) {
        check(!rig.read(ref, got, 256) && !eager.read(ref, want, 256) && got[0] == want[0], "a replay is what the calls are", options);
      }
      eager.submit(dispose({1, 1}));
      eager.submit(dispose({2, 1}));
      rig.submit(control(core::kReplay, 5));
    }
    check(!rig.flush(), "no error", options);
    check(rig.engine.memory().live == 3 * 256, "temporary, output and input", std::to_string(rig.engine.memory().live));
    rig.submit(dispose({2, 1}));
    rig.submit(control(core::kReplay, 5));
    rig.submit(fill({3, 1}, 64));
    rig.flush();
    check(rig.engine.memory().live == 4 * 256, "memory of a capture is its own");
    rig.submit(control(core::kDropCapture, 5));
    rig.flush();
    check(rig.engine.memory().live == 2 * 256, "dropped", std::to_string(rig.engine.memory().live));
  }
}

void testMisuse() {
  Rig rig;
  rig.submit(fill({0, 1}, 64));
  const auto fails = [&](const Words& w, const char* what) {
    check(rig.submit(w), "well formed");
    const core::ErrorPtr e = rig.flush();
    check(e && e->code == NS_INVALID, what);
  };
  fails(control(core::kReplay, 1), "an unknown capture");
  fails(control(core::kCaptureEnd, 1), "an end without a begin");
  rig.submit(control(core::kCaptureBegin, 1));
  fails(control(core::kCaptureBegin, 2), "a capture within a capture");
  fails(control(core::kReplay, 1), "a replay of what is being recorded");
  rig.submit(control(core::kDropCapture, 1));
  fails(control(core::kReplay, 1), "a dropped capture");
  capture(rig, 3);
  fails(control(core::kCaptureBegin, 3), "an id in use");
  rig.submit(control(core::kDropCapture, 99));
  check(!rig.flush(), "dropping nothing is no error");
  std::string why;
  const Words bad = command(core::kReplay, {{0, 1}}, {}, {1});
  check(!rig.engine.submit(bad.data(), bad.size(), why) && !why.empty(), "a replay with an input");
  // Slot 0 is held by the capture although it is disposed.
  rig.submit(dispose({0, 1}));
  rig.submit(control(core::kReplay, 3));
  uint32_t got[64];
  check(!rig.read({2, 1}, got, 256), "memory from outside is kept");
}

void testWrite() {
  Rig rig;
  std::string why;
  const float data[64] = {1};
  rig.engine.upload({0, 1}, vec(64), data, why);
  rig.engine.write({0, 1}, vec(64), data, why);
  check(!rig.flush(), "a write");
  rig.engine.write({0, 1}, vec(63), data, why);
  check(rig.flush() != nullptr, "another size");
  rig.engine.write({0, 2}, vec(64), data, why);
  check(rig.flush() != nullptr, "a slot that is not live");
  check(rig.engine.memory().live == 256, "no memory is taken");
}

// A fault at the n-th call of every kind, in the middle of captures, replays and reads of both ways.
void testFaults() {
  for (const char* kind : {"failCommand", "failAlloc", "failUpload", "failDownload", "failFinish", "failLaunch"}) {
    for (int n = 1; n <= 24; n++) {
      for (const char* how : {"", ",\"asyncCopies\":1", ",\"asyncCopies\":1,\"graphs\":1,\"code\":8"}) {
        Rig rig("{\"" + std::string(kind) + "\":" + std::to_string(n) + how + "}");
        std::string why;
        const float data[64] = {};
        uint32_t into[12][64];
        std::vector<uint64_t> tokens;
        rig.engine.upload({0, 1}, vec(64), data, why);
        capture(rig, 1);
        for (int i = 0; i < 6; i++) {
          rig.engine.write({0, 1}, vec(64), data, why);
          rig.submit(control(core::kReplay, 1));
          for (const uint32_t slot : {0u, 2u}) {
            tokens.push_back(rig.next++);
            rig.engine.read({slot, 1}, into[2 * i + (slot ? 1 : 0)], 256, tokens.back());
          }
          tokens.push_back(rig.next++);
          rig.engine.flush(tokens.back());
        }
        if (n % 2) rig.submit(control(core::kDropCapture, 1));
        tokens.push_back(rig.next++);
        rig.engine.close(tokens.back());
        for (uint64_t t : tokens) rig.await(t);
        check(rig.engine.counters().issued == rig.engine.counters().retired, "every command is accounted for");
      }
    }
  }
}

void testLateNames() {
  Rig rig("{\"asyncCopies\":1,\"failFinish\":2}");
  uint32_t into[64];
  rig.submit(fill({0, 1}, 64));
  check(!rig.read({0, 1}, into, 256), "the first");
  const core::ErrorPtr e = rig.read({0, 1}, into, 256);
  check(e && e->op == "affine" && e->shapes.empty(), "the op that the device names");
  check(!rig.flush(), "told already");
  check(rig.late.size() == 1, "and as an event");
}

void testReadsDoNotHoldTheWorker() {
  Rig rig("{\"asyncCopies\":1,\"finishDelayUs\":100000}");
  uint32_t into[4][64];
  rig.submit(fill({0, 1}, 64));
  std::vector<uint64_t> tokens;
  for (auto& to : into) {
    tokens.push_back(rig.next++);
    rig.engine.read({0, 1}, to, 256, tokens.back());
    rig.submit(accumulate({0, 1}, {0, 1}));
  }
  const auto begin = std::chrono::steady_clock::now();
  while (rig.engine.counters().issued != rig.engine.counters().retired) std::this_thread::yield();
  check(std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(300), "the worker goes on");
  for (uint64_t t : tokens) check(!rig.await(t), "a read");
  check(into[0][0] != into[1][0] && into[1][0] != into[2][0], "each has its own moment");
}

void testReadsAreBounded() {
  Rig rig("{\"asyncCopies\":1,\"finishDelayUs\":200000}", 1000, "null", 600);
  uint32_t into[3][64];
  rig.submit(fill({0, 1}, 64));
  for (auto& to : into) rig.engine.read({0, 1}, to, 256, rig.next++);
  check(!rig.await(3), "the third read");
  {
    std::lock_guard<std::mutex> lock(rig.mutex);
    check(rig.settled.count(2) == 0, "two fit: for the third the worker waits itself");
  }
  check(!rig.await(1) && !rig.await(2) && into[0][0] == into[2][0], "all are there");
  check(!rig.read({0, 1}, into[0], 256), "later there is room again");
}

// Calls of a capture that fail without depending on each other: what it makes carries the first error, and nothing is left over.
void testOneErrorPerCapture() {
  for (const char* copies : {"0", "1"}) {
    Rig rig("{\"allocLimit\":1024,\"asyncCopies\":" + std::string(copies) + "}");
    uint32_t into[64] = {};
    rig.submit(fill({0, 1}, 64));
    rig.submit(control(core::kCaptureBegin, 1));
    for (uint32_t slot : {1u, 2u, 3u}) rig.submit(fill({slot, 1}, 4096));
    rig.submit(accumulate({3, 1}, {2, 1}));
    rig.submit(affine({0, 1}, {4, 1}, 64));
    rig.submit(control(core::kCaptureEnd, 1));
    rig.submit(control(core::kReplay, 1));
    std::vector<unsigned char> large(16384);
    const core::ErrorPtr e = rig.read({3, 1}, large.data(), large.size());
    check(e && e->code == NS_OUT_OF_MEMORY && e->command == 3, "the first error");
    check(!rig.flush(), "and no other is left");
    check(rig.read({0, 1}, into, 256) == nullptr, "what was there before is as it was");
  }
}

void testStopInTheMiddle() {
  for (int round = 0; round < 20; round++) {
    Rig rig("{\"asyncCopies\":1,\"graphs\":1,\"delayUs\":50,\"finishDelayUs\":200}");
    static uint32_t into[64];
    rig.submit(fill({0, 1}, 64));
    capture(rig, 1);
    for (int i = 0; i < 50; i++) {
      rig.submit(control(core::kReplay, 1));
      rig.engine.read({2, 1}, into, 256, rig.next++);
    }
    rig.engine.flush(rig.next++);
    std::this_thread::sleep_for(std::chrono::microseconds(300 * round));
  }
  check(true, "destructor with replays and reads queued");
}

}  // namespace

int main() {
  testReplay();
  testMisuse();
  testWrite();
  testFaults();
  testLateNames();
  testReadsDoNotHoldTheWorker();
  testReadsAreBounded();
  testOneErrorPerCapture();
  testStopInTheMiddle();
  return finish();
}
