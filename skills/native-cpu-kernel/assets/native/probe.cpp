// Built and run with the kernel's flags before the kernel itself: proves compiler, headers, threads and instruction
// set.
#include "team.h"
#include "vec.h"

int main(int count, char**) {
  float x[WIDTH];
  for (int i = 0; i < WIDTH; i++) x[i] = float(count);  // 1: there are no arguments, but the compiler cannot know
  float sums[THREADS] = {};
  together([&](int thread) { sums[thread] = sum(load(x) * 2 + exp(load(x) - 1)); });
  for (const float found : sums)
    if (found != 3 * WIDTH) return 1;
}
