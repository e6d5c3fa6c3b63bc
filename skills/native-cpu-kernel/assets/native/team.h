// The threads that run one step together, without OpenMP (Apple's clang has none).
//
// A waiting thread spins for some tens of microseconds, longer than the pause between two steps, and then sleeps: an
// idle server uses no CPU.
#pragma once

struct Share {
  int begin, end;
};

inline Share share_of(int count, int thread) { return {count * thread / THREADS, count * (thread + 1) / THREADS}; }

#if THREADS == 1

template <class Work>
inline void together(Work work) {
  work(0);
}
inline void barrier() {}

#else

#include <atomic>
#include <cstdint>
#include <thread>

// A counter on which threads wait for the next value.
class Turnstile {
  std::atomic<uint32_t> turn{0};

 public:
  uint32_t now() const { return turn.load(std::memory_order_acquire); }

  void advance() {
    turn.fetch_add(1, std::memory_order_acq_rel);
    turn.notify_all();
  }

  void wait_past(uint32_t seen) const {
    for (int spins = 0; spins < 4000; spins++) {
      if (now() != seen) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    turn.wait(seen, std::memory_order_acquire);
  }
};

struct Team {
  Turnstile steps, barriers;
  std::atomic<int> arrived{0};
  void (*call)(void* work, int thread) = nullptr;
  void* work = nullptr;

  Team() {
    for (int thread = 1; thread < THREADS; thread++) std::thread(&Team::help, this, thread).detach();
  }

  void help(int thread) {
    for (uint32_t seen = 0;; seen++) {
      steps.wait_past(seen);
      call(work, thread);
      barrier();
    }
  }

  void barrier() {
    const uint32_t turn = barriers.now();
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == THREADS - 1) {
      arrived.store(0, std::memory_order_relaxed);
      barriers.advance();
    } else {
      barriers.wait_past(turn);
    }
  }
};

// Never destroyed: its threads wait in it until the process ends.
inline Team& team() {
  static Team& the_team = *new Team;
  return the_team;
}

template <class Work>
inline void together(Work work) {
  team().call = [](void* w, int thread) { (*static_cast<Work*>(w))(thread); };
  team().work = &work;
  team().steps.advance();
  work(0);
  team().barrier();
}
inline void barrier() { team().barrier(); }

#endif
