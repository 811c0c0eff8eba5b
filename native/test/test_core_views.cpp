// Tensors that share memory: values, lifetime, poison, mapped files, what is refused; memory that is written in place and read beside.
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "native/test/core_check.h"

using namespace ns;
using namespace ns::test;

namespace {

Words view(core::SlotRef base, core::SlotRef out, uint32_t n, uint64_t offset, uint32_t group = 0, uint32_t dtype = 0) {
  Words w = command(core::kView, {base}, {{out, {n}}}, {static_cast<uint32_t>(offset), static_cast<uint32_t>(offset >> 32)}, group);
  w[8] |= dtype;
  return w;
}

core::TensorInfo vector(int64_t n, DType type = DType::f32) {
  core::TensorInfo info;
  info.dtype = static_cast<int32_t>(type);
  info.ndim = 1;
  info.dims[0] = n;
  return info;
}

bool holds(Rig& rig, core::SlotRef ref, const std::vector<float>& want) {
  std::vector<float> got(want.size());
  return !rig.read(ref, got.data(), got.size() * 4) && got == want;
}

core::ErrorPtr errorOf(Rig& rig, core::SlotRef ref, size_t n) {
  std::vector<float> into(n);
  return rig.read(ref, into.data(), n * 4);
}

const float kRamp[8] = {0, 1, 2, 3, 4, 5, 6, 7};

void testValues() {
  Rig rig("", 1000, "cpu");
  std::string why;
  rig.engine.upload({0, 1}, vector(8), kRamp, why);
  rig.submit(view({0, 1}, {1, 1}, 5, 4));
  rig.submit(view({1, 1}, {2, 1}, 2, 8));
  check(holds(rig, {1, 1}, {1, 2, 3, 4, 5}) && holds(rig, {2, 1}, {3, 4}), "a view, and a view of it");
  // y = 0 y + x: the last two elements of the view take the first two of another tensor.
  rig.submit(command(op::fill::kId, {}, {{{3, 1}, {2}}}, {1, 2, 0, 0, 0, 0, 0, 0x41100000, 0}));
  rig.submit(command(op::accumulate::kId, {{2, 1}, {3, 1}}, {}, {0x3f800000, 0}));
  check(holds(rig, {0, 1}, {0, 1, 2, 9, 9, 5, 6, 7}), "what is written through a view stands in the base");
  check(!rig.flush() && rig.late.empty(), "no error");
}

void testEmpty() {
  for (const char* device : {"cpu", "null"}) {
    Rig rig("", 1000, device);
    rig.submit(command(core::kEmpty, {}, {{{0, 1}, {8}}}, {}));
    check(!rig.flush() && rig.engine.memory().live == 64, "memory, and no call", device);
    rig.submit(command(core::kEmpty, {}, {{{0, 1}, {8}}}, {}));
    check(rig.flush() && rig.late.size() == 1, "a slot in use", device);
    rig.submit(dispose({0, 1}));
    rig.flush();
    check(rig.engine.memory().live == 0, "released", device);
    check(!rig.submit(command(core::kEmpty, {{0, 1}}, {{{1, 1}, {8}}}, {})), "an input is malformed", device);
    check(!rig.submit(command(core::kEmpty, {}, {}, {})), "no output is malformed", device);
  }
}

void testLifetime() {
  for (int order = 0; order < 2; order++) {
    Rig rig("", 1000, "cpu");
    rig.submit(fill({0, 1}, 1000));
    rig.submit(view({0, 1}, {1, 1}, 3, 40));
    check(!rig.flush() && rig.engine.memory().live == 4096, "one block");
    rig.submit(dispose({order ? 1u : 0u, 1}));
    rig.submit(fill({2, 1}, 1000));
    check(!rig.flush() && rig.engine.memory().live == 8192, "the block lives on and is not given to another tensor");
    rig.submit(dispose({order ? 0u : 1u, 1}));
    check(!rig.flush() && rig.engine.memory().live == 4096, "the last one gives it back");
    // A slot that held a view starts at the front of its own memory again.
    std::string why;
    rig.engine.upload({1, 2}, vector(8), kRamp, why);
    check(holds(rig, {1, 2}, {0, 1, 2, 3, 4, 5, 6, 7}), "a slot forgets its offset");
  }
  Rig rig("{\"delayUs\":100}");
  rig.submit(fill({0, 1}, 100));
  for (uint32_t i = 1; i < 300; i++) rig.submit(view({i - 1, 1}, {i, 1}, 100, 0));
  check(true, "an engine that is destroyed with views in the queue");
}

void testPoison() {
  Rig rig("{\"failCommand\":3}");
  rig.submit(fill({0, 1}, 8));
  rig.submit(fill({1, 1}, 2));
  rig.submit(view({0, 1}, {2, 1}, 2, 0));
  rig.submit(view({0, 1}, {3, 1}, 2, 24));
  rig.submit(accumulate({2, 1}, {1, 1}));
  rig.submit(view({3, 1}, {4, 1}, 1, 0));
  for (const auto& [slot, n] : {std::pair<uint32_t, size_t>{0, 8}, {2, 2}, {3, 2}, {4, 1}}) {
    const core::ErrorPtr e = errorOf(rig, {slot, 1}, n);
    check(e && e->op == "accumulate" && e->command == 5, "all of the memory carries the error", std::to_string(slot));
  }
  check(!errorOf(rig, {1, 1}, 2), "what was only read does not");
  rig.submit(affine({3, 1}, {5, 1}, 2));
  check(errorOf(rig, {5, 1}, 2) && rig.late.size() == 1, "an op on another part does not run; one late error");
  for (uint32_t slot : {0u, 2u, 3u, 4u}) rig.submit(dispose({slot, 1}));
  rig.submit(fill({0, 2}, 8));
  check(!errorOf(rig, {0, 2}, 8), "memory that is used again carries nothing");
}

void testPoisonOfOne() {
  Rig rig("{\"failUpload\":2}");
  std::string why;
  rig.engine.upload({0, 1}, vector(8), kRamp, why);
  rig.engine.upload({1, 1}, vector(8), kRamp, why);
  rig.submit(view({1, 1}, {2, 1}, 4, 0));
  const core::ErrorPtr e = errorOf(rig, {2, 1}, 4);
  check(e && e->op == "upload", "a view of a tensor that was never made has its error");
  rig.submit(view({0, 1}, {3, 1}, 4, 0, 7));
  rig.engine.cancel(9);
  check(!errorOf(rig, {3, 1}, 4), "another group is cancelled");
  Rig slow("{\"delayUs\":3000}");
  slow.submit(fill({0, 1}, 8));
  for (uint32_t i = 10; i < 30; i++) slow.submit(fill({i, 1}, 8));
  slow.submit(view({0, 1}, {1, 1}, 4, 0, 7));
  slow.engine.cancel(7);
  const core::ErrorPtr cancelled = errorOf(slow, {1, 1}, 4);
  check(cancelled && cancelled->code == NS_CANCELLED && !errorOf(slow, {0, 1}, 8), "a cancelled view leaves its base alone");
}

void testMapped() {
  char path[] = "/tmp/nextscale-test-XXXXXX";
  const int fd = mkstemp(path);
  float numbers[64];
  for (int i = 0; i < 64; i++) numbers[i] = static_cast<float>(i);
  check(write(fd, numbers, sizeof(numbers)) == static_cast<ssize_t>(sizeof(numbers)), "file is written");
  Rig rig("", 1000, "cpu");
  check(rig.engine.map({0, 1}, vector(60), path, 4), "map is taken");
  rig.submit(view({0, 1}, {1, 1}, 3, 40));
  check(holds(rig, {1, 1}, {11, 12, 13}) && rig.engine.memory().mapped == 240, "a view of a mapped file");
  rig.submit(dispose({0, 1}));
  check(holds(rig, {1, 1}, {11, 12, 13}) && rig.engine.memory().mapped == 240, "stays mapped");
  rig.submit(fill({2, 1}, 3));
  rig.submit(command(op::accumulate::kId, {{1, 1}, {2, 1}}, {}, {0, 0x40000000}));
  float back = 0;
  check(holds(rig, {1, 1}, {22, 24, 26}) && pread(fd, &back, 4, 44) == 4 && back == 11, "written in memory, not in the file");
  rig.submit(view({1, 1}, {3, 1}, 1, 4));
  check(ftruncate(fd, 100) == 0, "file is cut");
  rig.submit(affine({3, 1}, {4, 1}, 1));
  for (uint32_t slot : {3u, 4u}) {
    const core::ErrorPtr e = errorOf(rig, {slot, 1}, 1);
    check(e && e->code == NS_IO, "a file that shrank is an error and no signal", std::to_string(slot));
  }
  for (uint32_t slot : {1u, 3u}) rig.submit(dispose({slot, 1}));
  rig.flush();
  check(rig.engine.memory().mapped == 0, "the last view unmaps");
  close(fd);
  unlink(path);
}

void testRefused() {
  Rig rig("", 1000, "cpu");
  rig.submit(fill({0, 1}, 8));
  const uint64_t bad[][2] = {{8, 4}, {1, 32}, {9, 0}, {1, 2}, {1, ~uint64_t{0} - 3}, {8, uint64_t{1} << 32}};
  uint32_t slot = 1;
  for (const auto& [n, offset] : bad) {
    rig.submit(view({0, 1}, {slot, 1}, static_cast<uint32_t>(n), offset));
    const core::ErrorPtr e = errorOf(rig, {slot, 1}, n);
    check(e && e->code == NS_INVALID && e->op == "view", "what does not fit", std::to_string(offset));
    slot++;
  }
  rig.submit(view({0, 1}, {slot, 1}, 8, 0, 0, static_cast<uint32_t>(DType::i32)));
  check(static_cast<bool>(errorOf(rig, {slot, 1}, 8)), "another dtype");
  rig.submit(view({99, 1}, {100, 1}, 1, 0));
  check(static_cast<bool>(errorOf(rig, {100, 1}, 1)), "a slot that is not there");
  rig.submit(view({0, 1}, {0, 1}, 8, 0));
  check(!errorOf(rig, {0, 1}, 8), "a view into its own slot is refused and changes nothing");
  std::string why;
  const Words none = command(core::kView, {{0, 0}}, {{{50, 1}, {1}}}, {0, 0});
  check(core::validate(none.data(), none.size(), why) < 0, "a view of nothing");
}

// y and x lie in one block of 16 elements, n each, from y0 and x0 on.
core::ErrorPtr accumulateWithin(uint32_t n, uint64_t y0, uint64_t x0) {
  Rig rig("", 1000, "cpu");
  rig.submit(fill({0, 1}, 16));
  rig.submit(view({0, 1}, {1, 1}, n, 4 * y0));
  rig.submit(view({0, 1}, {2, 1}, n, 4 * x0));
  rig.submit(accumulate({1, 1}, {2, 1}));
  return errorOf(rig, {0, 1}, 16);
}

void testInPlace() {
  check(!accumulateWithin(8, 0, 8) && !accumulateWithin(8, 8, 0), "neighbours");
  check(!accumulateWithin(16, 0, 0), "the same range");
  for (const auto& [y0, x0] : {std::pair<uint64_t, uint64_t>{0, 1}, {1, 0}, {0, 7}, {8, 1}}) {
    const core::ErrorPtr e = accumulateWithin(8, y0, x0);
    check(e && e->code == NS_INVALID && e->message.find("shares memory with input 1") != std::string::npos, "ranges that overlap");
  }
  Rig rig("", 1000, "cpu");
  std::string why;
  const int32_t idx[2] = {3, 0};
  rig.engine.upload({0, 1}, vector(2, DType::i32), idx, why);
  rig.submit(fill({1, 1}, 8));
  rig.submit(view({1, 1}, {2, 1}, 8, 0));
  rig.submit(command(op::write_slice::kId, {{1, 1}, {2, 1}}, {}, {0, 0}));
  check(static_cast<bool>(errorOf(rig, {2, 1}, 8)), "a copy onto itself");
}

void testFarOffsets() {
  Rig rig;
  rig.submit(fill({0, 1}, 1u << 28));
  rig.submit(view({0, 1}, {1, 1}, 4, (uint64_t{1} << 30) - 16));
  rig.submit(fill({2, 1}, 4));
  rig.submit(accumulate({1, 1}, {2, 1}));
  check(!errorOf(rig, {1, 1}, 4), "the device null has memory behind every element");
}

}  // namespace

int main() {
  testValues();
  testEmpty();
  testLifetime();
  testPoison();
  testPoisonOfOne();
  testMapped();
  testRefused();
  testInPlace();
  testFarOffsets();
  return finish();
}
