// The engine without Node: poison, cancel, faults, stop in the middle of work, random bytes as commands.
#include <cstring>
#include <random>
#include <thread>

#include "native/test/core_check.h"

using namespace ns;
using namespace ns::test;

namespace {

void testPoison() {
  Rig rig("{\"failCommand\":2}");
  rig.submit(fill({0, 1}, 4));
  rig.submit(affine({0, 1}, {1, 1}, 4));
  rig.submit(affine({1, 1}, {2, 1}, 4));
  rig.submit(accumulate({0, 1}, {2, 1}));
  rig.submit(fill({3, 1}, 4));
  float into[4];
  check(!rig.read({3, 1}, into, 16), "bystander is fine");
  for (uint32_t slot : {0u, 1u, 2u}) {
    const core::ErrorPtr e = rig.read({slot, 1}, into, 16);
    check(e && e->command == 2 && e->op == "affine" && e->shapes == "f32[4] -> f32[4]", "poison keeps the original error",
          std::to_string(slot));
  }
  check(rig.late.size() == 1, "one late error");
  check(!rig.flush(), "told already");
  rig.submit(dispose({1, 1}));
  rig.submit(fill({1, 2}, 4));
  check(!rig.read({1, 2}, into, 16), "slot is clean after dispose");
}

void testFaultEverywhere() {
  for (int n = 1; n <= 30; n++) {
    for (const char* kind : {"failCommand", "failAlloc", "failUpload", "failDownload"}) {
      Rig rig("{\"" + std::string(kind) + "\":" + std::to_string(n) + "}");
      std::string why;
      core::TensorInfo info;
      info.ndim = 1;
      info.dims[0] = 4;
      const float data[4] = {};
      float into[30][4];
      std::vector<uint64_t> tokens;
      for (uint32_t i = 0; i < 10; i++) {
        rig.engine.upload({i, 1}, info, data, why);
        rig.submit(affine({i, 1}, {i + 100, 1}, 4));
        rig.submit(accumulate({i + 100, 1}, {i, 1}));
        tokens.push_back(rig.next++);
        rig.engine.read({i + 100, 1}, into[i], 16, tokens.back());
        if (i % 2) rig.submit(dispose({i, 1}));
      }
      const uint64_t close = rig.next++;
      rig.engine.throttle(rig.next);
      tokens.push_back(rig.next++);
      rig.engine.close(close);
      for (uint64_t t : tokens) rig.await(t);
      rig.await(close);
      check(!rig.engine.flush(99999), "closed engine takes nothing");
    }
  }
}

void testCancel() {
  Rig rig("{\"delayUs\":200}");
  rig.submit(fill({0, 1}, 4));
  for (uint32_t i = 1; i < 200; i++) rig.submit(affine({i - 1, 1}, {i, 1}, 4, 7));
  rig.submit(fill({500, 1}, 4, 8));
  rig.engine.cancel(7);
  for (uint32_t i = 0; i < 200; i++) rig.submit(dispose({i, 1}));
  float into[4];
  check(!rig.read({500, 1}, into, 16), "another group runs");
  check(!rig.flush(), "cancelling is no error");
  check(rig.engine.memory().live == 64, "disposes are executed");
  check(rig.engine.counters().opCount[op::affine::kId - op::kFirstId] < 199, "queued commands did not run");
  rig.submit({4, core::kEndGroup, 7, 0});
  rig.submit(fill({501, 1}, 4, 7));
  check(!rig.read({501, 1}, into, 16), "a group that ended is no longer cancelled");
}

void testStopInTheMiddle() {
  for (int round = 0; round < 20; round++) {
    Rig rig("{\"delayUs\":100}");
    float into[4];
    rig.submit(fill({0, 1}, 4));
    for (int i = 0; i < 500; i++) rig.submit(accumulate({0, 1}, {0, 1}));
    rig.engine.read({0, 1}, into, 16, rig.next++);
    rig.engine.flush(rig.next++);
    std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
  }
  check(true, "destructor with work queued");
}

void testThrottle() {
  Rig rig("{\"delayUs\":50}", 100);
  rig.submit(fill({0, 1}, 4));
  for (int i = 0; i < 300; i++) rig.submit(accumulate({0, 1}, {0, 1}));
  const uint64_t token = rig.next++;
  rig.engine.throttle(token);
  rig.await(token);
  const uint64_t inFlight = rig.engine.counters().issued - rig.engine.counters().retired;
  check(inFlight <= 50, "throttle waits for half the bound", std::to_string(inFlight));
}

void testRandomWords() {
  Rig rig("", 1u << 20);
  std::mt19937 random(11);
  int taken = 0;
  for (int i = 0; i < 20000; i++) {
    const auto any = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    Words w = i % 2 ? affine({any(20), 1}, {any(20), 1}, 4) : Words(1 + random() % 40);
    if (i % 2) {
      w[random() % w.size()] = random() % 3 ? any(300) : static_cast<uint32_t>(random());
    } else {
      for (auto& x : w) x = random() % 3 ? any(80) : static_cast<uint32_t>(random());
      w[0] = static_cast<uint32_t>(w.size());
    }
    std::string why;
    if (rig.engine.submit(w.data(), w.size(), why)) {
      taken++;
    } else {
      check(!why.empty(), "a refusal has a reason");
    }
  }
  check(taken > 1000, "some are well formed", std::to_string(taken));
  rig.flush();
  float into[4];
  rig.submit(fill({9000, 1}, 4));
  check(!rig.read({9000, 1}, into, 16), "engine works afterwards");
}

void testTruncated() {
  const Words whole = affine({0, 1}, {1, 1}, 4);
  std::string why;
  core::Command c;
  check(core::validate(whole.data(), whole.size(), why) == 1, "whole command", why);
  for (size_t n = 1; n < whole.size(); n++) {
    Words cut(whole.begin(), whole.begin() + static_cast<long>(n));
    check(core::validate(cut.data(), n, why) < 0, "cut command");
    cut[0] = static_cast<uint32_t>(n);
    check(core::decode(cut.data(), n, c, why) == 0, "cut command that claims to be whole", std::to_string(n));
  }
}

void testCpu() {
  Rig rig("", 1000, "cpu");
  std::string why;
  core::TensorInfo info;
  info.ndim = 1;
  info.dims[0] = 5;
  const float data[5] = {1, 2, 3, 4, 5};
  float into[5] = {};
  rig.engine.upload({0, 1}, info, data, why);
  check(!rig.read({0, 1}, into, 20) && std::memcmp(data, into, 20) == 0, "upload and read");
  check(rig.engine.describe().find("\"threads\":2") != std::string::npos, "describe", rig.engine.describe());
}

}  // namespace

int main() {
  testPoison();
  testFaultEverywhere();
  testCancel();
  testStopInTheMiddle();
  testThrottle();
  testRandomWords();
  testTruncated();
  testCpu();
  return finish();
}
