// The pool and mapped files.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "native/core/mapped.h"
#include "native/core/memory.h"
#include "native/core/registry.h"
#include "native/test/core_check.h"

using namespace ns;
using namespace ns::core;
using namespace ns::test;

namespace {

void testBuckets() {
  size_t last = 0;
  for (size_t n = 1; n < (1u << 22); n += 1 + n / 300) {
    const size_t b = Memory::bucket(n);
    check(b >= n && b % 64 == 0 && b >= last, "bucket holds the bytes and is monotonic", std::to_string(n));
    check(n <= 4096 || b <= n + n / 8 + 1, "at most an eighth is lost", std::to_string(n));
    check(Memory::bucket(b) == b, "a bucket is its own bucket", std::to_string(b));
    last = b;
  }
  check(Memory::bucket(size_t{5} << 40) >= size_t{5} << 40, "huge");
}

struct Device {
  const NsBackend& table = *nullBackend();
  void* self;
  explicit Device(const char* options) {
    const NsConfig config{0, 0, options};
    Status status;
    self = table.create(&config, &status);
  }
  ~Device() { table.destroy(self); }
};

void testPool() {
  Device d("");
  Memory memory(d.table, d.self, 100000);
  Status status;
  Block a = memory.take(5000, status);
  void* first = a.data;
  memory.give(a);
  Block b = memory.take(5001, status);
  check(b.data == first && memory.counters().pool == b.bytes, "a block is used again");
  std::vector<Block> blocks;
  for (int i = 0; i < 50; i++) blocks.push_back(memory.take(4096 + 512 * static_cast<size_t>(i), status));
  check(memory.counters().live == memory.counters().pool, "all live");
  const uint64_t peak = memory.counters().pool;
  for (Block x : blocks) memory.give(x);
  memory.give(b);
  check(memory.counters().live == 0 && memory.counters().pool <= 100000, "the cache is bounded");
  check(memory.counters().peak == peak, "peak");
  const uint64_t kept = memory.counters().pool;
  memory.give(memory.take(200000, status));
  check(memory.counters().pool == kept && kept > 0, "a block larger than the cache drives nothing out");
  memory.trim();
  check(memory.counters().pool == 0, "trim returns everything");
}

void testGrowth() {
  Device d("");
  constexpr size_t kMega = size_t{1} << 20;
  Memory memory(d.table, d.self, 256 * kMega);  // a quarter of it is room to spare
  Status status;
  // Each size is new: at the end nothing but the last and some spare room may be held.
  for (size_t n = 16; n < 200; n += 3) memory.give(memory.take(n * kMega, status));
  const uint64_t largest = Memory::bucket(199 * kMega);
  check(memory.counters().peak <= largest + 64 * kMega, "the cache fills no more than the highest live memory",
        std::to_string(memory.counters().peak));
  // Below that, blocks of different sizes stay.
  const uint64_t pool = memory.counters().pool;
  Block a = memory.take(20 * kMega, status), b = memory.take(30 * kMega, status);
  const void *first = a.data, *second = b.data;
  memory.give(a);
  memory.give(b);
  a = memory.take(20 * kMega, status);
  b = memory.take(30 * kMega, status);
  check(a.data == first && b.data == second && memory.counters().peak <= largest + 64 * kMega && pool > 0, "what fits is used again");
  memory.give(a);
  memory.give(b);
  check(Memory::bucket(size_t{1241} << 20) < size_t{1265} << 20, "huge blocks lose little");
}

// Blocks of 4 MiB of cache at most: a quarter of it, 1 MiB, may lie unused in larger blocks.
void testLarger() {
  Device d("");
  constexpr size_t kKilo = 1024;
  Memory memory(d.table, d.self, 4096 * kKilo);
  const Memory::Counters& counters = memory.counters();
  Status status;
  Block large = memory.take(1024 * kKilo, status), middle = memory.take(512 * kKilo, status), same = memory.take(512 * kKilo, status);
  const void *first = large.data, *second = middle.data, *third = same.data;
  for (const Block& b : {middle, same, large}) memory.give(b);
  const uint64_t pool = counters.pool;
  Block a = memory.take(400 * kKilo, status), b = memory.take(400 * kKilo, status), c = memory.take(400 * kKilo, status);
  check(a.data == third && b.data == second && c.data == first, "the smallest block that holds the bytes, the last used before others");
  check(counters.pool == pool && counters.live == 3 * Memory::bucket(400 * kKilo), "live is what was asked for");
  memory.give(c);
  c = memory.take(200 * kKilo, status);
  check(c.data != first && counters.pool == pool + Memory::bucket(200 * kKilo),
        "a block of more than four times the bucket serves no other");
  for (const Block& x : {a, b, c}) memory.give(x);
  check(counters.live == 0 && counters.pool == pool + Memory::bucket(200 * kKilo), "all of a block is cached again");
  Block again = memory.take(1024 * kKilo, status);
  check(again.data == first, "and serves all its bytes");
  memory.give(again);
  memory.trim();
  check(counters.pool == 0, "all of it is returned");

  Block both[2] = {memory.take(1024 * kKilo, status), memory.take(1024 * kKilo, status)};
  for (const Block& x : both) memory.give(x);
  Block one = memory.take(256 * kKilo, status), two = memory.take(256 * kKilo, status);
  check(counters.pool == 2304 * kKilo, "what lies unused is bounded", std::to_string(counters.pool));
  memory.give(one);
  memory.give(two);
}

int allocations = 0;

// A job of growing shapes, each with sizes of its own, run again and again.
void testSteady() {
  Device d("");
  NsBackend counted = d.table;
  counted.alloc = [](void* self, size_t bytes, NsStatus* status) {
    allocations++;
    return nullBackend()->alloc(self, bytes, status);
  };
  constexpr size_t kLimit = size_t{24} << 20;
  Memory memory(counted, d.self, kLimit);
  const Memory::Counters& counters = memory.counters();
  Status status;
  uint64_t highest = 0, most = 0, idle = 0;
  int last = 0;
  for (int run = 0; run < 3; run++) {
    last = allocations;
    std::vector<Block> held(6);
    for (size_t step = 0; step < 200; step++) {
      const size_t scale = step / 20 + 4;
      Block& block = held[step * 5 % held.size()];
      memory.give(block);
      idle = std::max(idle, counters.pool - counters.live);
      block = memory.take(scale * scale * 4096 * (step % 3 + 1), status);
      highest = std::max(highest, counters.live.load());
      most = std::max(most, counters.pool.load());
    }
    for (const Block& block : held) memory.give(block);
  }
  check(allocations == last && last > 0, "a job that is run again takes no new block", std::to_string(allocations - last));
  check(most <= highest + kLimit / 4, "the pool exceeds the highest live memory by the spare room at most", std::to_string(most));
  check(idle <= kLimit + kLimit / 4 && counters.live == 0 && counters.pool <= kLimit, "the cache is bounded");
}

void testShortage() {
  Device d("{\"allocLimit\":50000}");
  Memory memory(d.table, d.self, 1 << 20);
  Status status;
  memory.give(memory.take(30000, status));
  Block large = memory.take(40000, status);
  check(large.data && status.ok(), "the cache is dropped when memory is short");
  Block more = memory.take(40000, status);
  check(!more.data && status.code == NS_OUT_OF_MEMORY, "then it is an error");
  memory.give(large);
}

void testMapped() {
  char path[] = "/tmp/nextscale-test-XXXXXX";
  const int fd = mkstemp(path);
  std::vector<unsigned char> bytes(20000);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<unsigned char>(i * 7);
  check(write(fd, bytes.data(), bytes.size()) == 20000, "file is written");
  Files files;
  Status status;
  auto file = files.open(path, status);
  check(file && files.open(path, status) == file, "a file is opened once");
  {
    auto m = Mapping::create(file, 5003, 10000, status);
    check(m && std::memcmp(m->data(), bytes.data() + 5003, 10000) == 0, "a range at any offset");
    static_cast<unsigned char*>(m->data())[0] ^= 1;
    unsigned char back = 0;
    check(pread(fd, &back, 1, 5003) == 1 && back == bytes[5003], "the file is never written");
    check(m->intact(status), "intact");
    check(ftruncate(fd, 15002) == 0 && !m->intact(status) && status.code == NS_IO, "shrunk", status.message);
  }
  status = Status();
  check(!Mapping::create(file, 15000, 3, status) && status.code == NS_IO, "beyond the end");
  check(!Mapping::create(file, ~uint64_t{0} - 1, 3, status), "offset that wraps");
  check(!Mapping::create(file, 0, 0, status), "empty range");
  close(fd);
  unlink(path);
  check(!file->same(path), "gone");
  check(!files.open(path, status) && status.code == NS_IO, "missing", status.message);
  check(!files.open("/", status), "a folder", status.message);
}

void testRegistry() {
  check(findBackend("cpu", "").table && findBackend("null", "").table, "linked in");
  const BackendEntry cuda = findBackend("cuda", "/nowhere");
  check(!cuda.table && !cuda.reason.empty() && !cuda.host, "a plug-in that is not there has a reason", cuda.reason);
  check(!findBackend("tpu", "").table, "unknown device");
}

}  // namespace

int main() {
  testBuckets();
  testPool();
  testGrowth();
  testLarger();
  testSteady();
  testShortage();
  testMapped();
  testRegistry();
  return finish();
}
