// Thread pool: one job at a time, chunks handed out by one atomic ticket.
// Floor: below 1 us per region without work. A region ends when every chunk taken is done; a worker that is still asleep or
// descheduled and has taken none is not waited for.
// The ticket packs (generation, next chunk). A worker reads the job's fields, then takes a chunk by compare-and-swap on the
// whole ticket: a stale generation fails, so fields of another job are never used.
#include "native/cpu/pool.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "native/cpu/cores.h"

#if defined(__linux__)
#include <pthread.h>
#include <signal.h>
#endif

namespace ns::cpu {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kSpins = 2000;  // pauses before a thread goes to sleep: some tens of microseconds
constexpr int64_t kMaxChunks = int64_t{1} << 31;

void nameThread([[maybe_unused]] int index) {
#if defined(__linux__)
  char name[16] = "ns-cpu-";
  int at = 7;
  for (int div = 1000; div > 0; div /= 10) {
    if (index >= div || div == 1) name[at++] = static_cast<char>('0' + index / div % 10);
  }
  name[at] = 0;
  pthread_setname_np(pthread_self(), name);
#endif
}

// Signals belong to the host's threads; workers inherit a full mask.
class SignalMask {
 public:
  SignalMask() {
#if defined(__linux__)
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old_);
#endif
  }
  ~SignalMask() {
#if defined(__linux__)
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
#endif
  }

 private:
#if defined(__linux__)
  sigset_t old_;
#endif
};

struct Current {
  const void* state = nullptr;
  int thread = 0;
};
thread_local Current current;

}  // namespace

struct Pool::State {
  std::mutex jobs;  // held for a whole region: one at a time

  // The job. Atomics because a late worker may read them while the next job is written; it then fails to take a chunk.
  std::atomic<uint64_t> ticket{0};  // generation << 32 | next chunk
  std::atomic<uint32_t> count{0};
  std::atomic<int64_t> n{0};
  std::atomic<int64_t> grain{1};
  std::atomic<Chunk> chunk{nullptr};
  std::atomic<void*> context{nullptr};
  alignas(64) std::atomic<uint32_t> finished{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;

  alignas(64) std::mutex mutex;  // guards sleeping
  std::condition_variable work;
  std::condition_variable done;
  std::atomic<int> sleepers{0};
  std::atomic<bool> callerSleeps{false};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  bool open() const { return static_cast<uint32_t>(ticket.load(std::memory_order_seq_cst)) < count.load(std::memory_order_relaxed); }

  // Takes and runs one chunk of the current job; false when there is none.
  bool step(int thread) {
    uint64_t t = ticket.load(std::memory_order_acquire);
    for (;;) {
      const uint32_t index = static_cast<uint32_t>(t);
      const uint32_t total = count.load(std::memory_order_relaxed);
      const int64_t size = n.load(std::memory_order_relaxed);
      const int64_t step = grain.load(std::memory_order_relaxed);
      const Chunk body = chunk.load(std::memory_order_relaxed);
      void* const ctx = context.load(std::memory_order_relaxed);
      if (index >= total) return false;
      std::atomic_thread_fence(std::memory_order_acquire);
      if (!ticket.compare_exchange_weak(t, t + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      const int64_t begin = index * step;
      try {
        body(ctx, begin, std::min(size, begin + step), thread);
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
      if (finished.fetch_add(1, std::memory_order_seq_cst) + 1 == total && callerSleeps.load(std::memory_order_seq_cst)) {
        std::lock_guard<std::mutex> lock(mutex);
        done.notify_one();
      }
      return true;
    }
  }

  void workerLoop(int thread) {
    nameThread(thread);
    current = {this, thread};
    int idle = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      if (step(thread)) {
        idle = 0;
      } else if (++idle < kSpins) {
        hwy::Pause();
      } else {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        work.wait(lock, [&] { return stop.load() || open(); });
        sleepers.fetch_sub(1, std::memory_order_seq_cst);
        idle = 0;
      }
    }
  }

  void publish(int64_t size, int64_t step, uint32_t total, Chunk body, void* ctx) {
    const uint64_t generation = (ticket.load(std::memory_order_relaxed) >> 32) + 1;
    ticket.store(generation << 32 | 0xffffffffu, std::memory_order_seq_cst);  // closed: no chunk of it can be taken
    std::atomic_thread_fence(std::memory_order_seq_cst);
    finished.store(0, std::memory_order_relaxed);
    n.store(size, std::memory_order_relaxed);
    grain.store(step, std::memory_order_relaxed);
    chunk.store(body, std::memory_order_relaxed);
    context.store(ctx, std::memory_order_relaxed);
    count.store(total, std::memory_order_relaxed);
    ticket.store((generation + 1) << 32, std::memory_order_seq_cst);
    const int asleep = sleepers.load(std::memory_order_seq_cst);
    if (asleep > 0) {
      std::lock_guard<std::mutex> lock(mutex);
      if (static_cast<int64_t>(total) - 1 >= asleep) {
        work.notify_all();
      } else {
        for (uint32_t i = 1; i < total; i++) work.notify_one();
      }
    }
  }

  void waitForTaken(uint32_t total) {
    for (int i = 0; i < kSpins; i++) {
      if (finished.load(std::memory_order_acquire) == total) return;
      hwy::Pause();
    }
    std::unique_lock<std::mutex> lock(mutex);
    callerSleeps.store(true, std::memory_order_seq_cst);
    done.wait(lock, [&] { return finished.load(std::memory_order_seq_cst) == total; });
    callerSleeps.store(false, std::memory_order_seq_cst);
  }
};

Pool::Pool(int threads) : state_(new State) {
  const int wanted = std::min(threads > 0 ? threads : usableCores(), kMaxThreads);
  SignalMask mask;
  try {
    state_->workers.reserve(static_cast<size_t>(wanted));
    for (int i = 1; i < wanted; i++) state_->workers.emplace_back([s = state_.get(), i] { s->workerLoop(i); });
  } catch (const std::exception&) {
    // No thread or no memory for one: fewer than asked for; threads() tells how many.
  }
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop.store(true);
    state_->work.notify_all();
  }
  for (std::thread& worker : state_->workers) worker.join();
}

int Pool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void Pool::run(int64_t n, int64_t grain, Chunk chunk, void* ctx) {
  if (n <= 0) return;
  grain = std::max<int64_t>(1, grain);
  while ((n - 1) / grain + 1 >= kMaxChunks) grain *= 2;
  const int64_t total = (n - 1) / grain + 1;
  State& s = *state_;
  const bool nested = current.state == &s;
  if (nested || total == 1 || s.workers.empty()) {
    std::unique_lock<std::mutex> job;
    if (!nested) job = std::unique_lock<std::mutex>(s.jobs);
    const Current outer = current;
    const int thread = nested ? outer.thread : 0;
    current = {&s, thread};
    struct Restore {
      Current value;
      ~Restore() { current = value; }
    } restore{outer};
    for (int64_t i = 0; i < total; i++) chunk(ctx, i * grain, std::min(n, (i + 1) * grain), thread);
    return;
  }
  std::lock_guard<std::mutex> job(s.jobs);
  const Current outer = current;
  current = {&s, 0};
  s.publish(n, grain, static_cast<uint32_t>(total), chunk, ctx);
  while (s.step(0)) {
  }
  s.waitForTaken(static_cast<uint32_t>(total));
  current = outer;
  if (s.failed.exchange(false)) {
    std::exception_ptr failure = std::move(s.failure);
    s.failure = nullptr;
    std::rethrow_exception(failure);
  }
}

}  // namespace ns::cpu
