// Thread pool: every index once, fixed chunk boundaries, nesting, exceptions, many short regions, callers on several threads.
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "native/cpu/cores.h"
#include "native/cpu/pool.h"
#include "native/test/kernel_check.h"

using namespace ns::test;
using ns::cpu::Pool;

namespace {

void coverage(Pool& pool) {
  for (int64_t n : {0, 1, 2, 7, 64, 1000}) {
    for (int64_t grain : {-1, 0, 1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
      std::mutex lock;
      std::set<std::pair<int64_t, int64_t>> chunks;
      std::atomic<bool> ids{true};
      pool.parallelFor(n, grain, [&](int64_t begin, int64_t end, int thread) {
        if (thread < 0 || thread >= pool.threads()) ids = false;
        for (int64_t i = begin; i < end; i++) seen[static_cast<size_t>(i)]++;
        std::lock_guard<std::mutex> guard(lock);
        chunks.insert({begin, end});
      });
      bool once = true;
      for (auto& s : seen) once = once && s == 1;
      check(once, "every index once");
      check(ids, "thread ids in range");
      std::set<std::pair<int64_t, int64_t>> want;
      const int64_t step = grain < 1 ? 1 : grain;
      for (int64_t i = 0; i < n; i += step) want.insert({i, std::min(n, i + step)});
      check(chunks == want, "chunk boundaries depend on n and grain only");
    }
  }
}

void oneThreadPerId(Pool& pool) {
  std::vector<std::atomic<int>> busy(static_cast<size_t>(pool.threads()));
  std::atomic<bool> shared{false};
  pool.parallelFor(400, 1, [&](int64_t, int64_t, int thread) {
    if (busy[static_cast<size_t>(thread)].fetch_add(1) != 0) shared = true;
    for (volatile int i = 0; i < 2000; i = i + 1) {
    }
    busy[static_cast<size_t>(thread)]--;
  });
  check(!shared, "a thread id is used by one chunk at a time");
}

void nesting(Pool& pool) {
  std::atomic<int64_t> sum{0};
  std::atomic<bool> ids{true}, serial{true};
  pool.parallelFor(20, 1, [&](int64_t, int64_t, int outer) {
    const auto self = std::this_thread::get_id();
    pool.parallelFor(10, 3, [&](int64_t begin, int64_t end, int inner) {
      if (inner != outer) ids = false;
      if (std::this_thread::get_id() != self) serial = false;
      for (int64_t i = begin; i < end; i++) sum += i;
    });
  });
  check(sum == 20 * 45, "nested regions cover everything");
  check(ids && serial, "nested regions run on the caller's thread");
}

void exceptions(Pool& pool) {
  for (int64_t bad : {0, 5, 99}) {
    bool caught = false;
    try {
      pool.parallelFor(100, 1, [&](int64_t begin, int64_t, int) {
        if (begin == bad) throw std::runtime_error("bad chunk");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    check(caught, "an exception reaches the caller");
  }
  coverage(pool);
}

void manyRegions(Pool& pool) {
  bool ok = true;
  for (int i = 0; i < 30000; i++) {
    std::atomic<int> n{0};
    pool.parallelFor(i % 7, 1, [&](int64_t, int64_t, int) { n.fetch_add(1, std::memory_order_relaxed); });
    ok = ok && n == i % 7;
    if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // let the workers fall asleep
  }
  check(ok, "short regions after spinning and after sleeping");
}

void severalCallers(Pool& pool) {
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; c++) {
    callers.emplace_back([&] {
      for (int i = 0; i < 500; i++) pool.parallelFor(10, 2, [&](int64_t b, int64_t e, int) { total += e - b; });
    });
  }
  for (std::thread& t : callers) t.join();
  check(total == 4 * 500 * 10, "callers on several threads take turns");
}

}  // namespace

void quota() {
  const std::pair<const char*, int> cases[] = {
      {"max 100000", 0}, {"200000 100000", 2}, {"250000 100000", 3}, {"1000 100000", 1},
      {"", 0},           {"200000", 0},        {"-1 100000", 0},     {"9223372036854775807 1", 1 << 20}};
  for (const auto& [text, cores] : cases) check(ns::cpu::coresOfQuota(text) == cores, "cores of a quota", text);
  char root[] = "/tmp/nextscale-cgroup-XXXXXX";
  check(mkdtemp(root) != nullptr, "a folder is made");
  const std::string top = root, a = top + "/a", b = a + "/b";
  mkdir(a.c_str(), 0700);
  mkdir(b.c_str(), 0700);
  std::ofstream(a + "/cpu.max") << "150000 100000\n";
  std::ofstream(b + "/cpu.max") << "max 100000\n";
  check(ns::cpu::coresOfGroup(top, "/a/b") == 2, "a group above limits too");
  check(ns::cpu::coresOfGroup(top, "/") == 0 && ns::cpu::coresOfGroup(top, "") == 0, "the root has no limit");
  check(ns::cpu::coresOfGroup(top, "odd") == 0, "a group that is not there");
  for (const std::string& path : {a + "/cpu.max", b + "/cpu.max", b, a, top}) remove(path.c_str());
}

int main() {
  for (int threads : {1, 2, 3, 8}) {
    Pool pool(threads);
    check(pool.threads() == threads, "threads() is what was asked for");
    coverage(pool);
    oneThreadPerId(pool);
    nesting(pool);
    exceptions(pool);
    manyRegions(pool);
    severalCallers(pool);
  }
  for (int i = 0; i < 200; i++) Pool pool(4);
  check(Pool(0).threads() >= 1, "0 means all cores");
  quota();
  return finish();
}
