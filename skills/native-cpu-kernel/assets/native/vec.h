// One vector of floats for every instruction set, on the vector extensions of GCC and Clang.
//
// The kernel is written once against `vec`. An instruction set adds only a width and the size of the register block
// that fits its register file. Loads and stores are unaligned: nothing depends on where a buffer starts.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(PORTABLE)
constexpr int WIDTH = 4, BLOCK_ROWS = 4, BLOCK_PANELS = 2;  // lowered to whatever the base instruction set has
#elif defined(__AVX512F__)
constexpr int WIDTH = 16, BLOCK_ROWS = 4, BLOCK_PANELS = 4;  // of 32 registers; with 6 rows Clang 14 spills
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int WIDTH = 8, BLOCK_ROWS = 5, BLOCK_PANELS = 2;  // of 16 registers; with 6 rows GCC 12 spills
#elif defined(__ARM_NEON)
constexpr int WIDTH = 4, BLOCK_ROWS = 4, BLOCK_PANELS = 4;  // of 32 registers
#else
#error "name an instruction set by its compiler flag, or PORTABLE"
#endif

// What must not become a call: a block's sums live in registers only if everything around them is one function.
#define INLINE inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));

template <class Vector>
inline Vector load_as(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline vec load(const float* from) { return load_as<vec>(from); }
inline void store(float* to, vec v) { std::memcpy(to, &v, sizeof v); }
template <int N>
INLINE void store(float* to, const vec (&v)[N]) {
  for (int i = 0; i < N; i++) store(to + i * WIDTH, v[i]);
}
inline vec broadcast(float x) { return x - vec{}; }
inline vec max(vec a, vec b) { return a > b ? a : b; }
inline vec min(vec a, vec b) { return a < b ? a : b; }

inline float sum(vec v) {
  float total = 0;
  for (int i = 0; i < WIDTH; i++) total += v[i];
  return total;
}

inline float max(vec v) {
  float best = v[0];
  for (int i = 1; i < WIDTH; i++) best = v[i] > best ? v[i] : best;
  return best;
}

// e^x to 2 ulp (polynomial of Cephes' expf). Below -87 it is zero, so a masked score of -inf weighs nothing; at 88 it
// saturates.
inline vec exp(vec x) {
  constexpr float LOWEST = -87, HIGHEST = 88;
  constexpr float COEFFICIENTS[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                                    5.0000001201e-1f};
  const vec clamped = min(max(x, broadcast(LOWEST)), broadcast(HIGHEST));
  const vec magic =
      broadcast(12582912);  // 1.5 * 2^23: adding it rounds to an integer, taking it away leaves that integer
  const vec n = (clamped * 1.44269504f + magic) - magic;
  const vec r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact
  vec p = broadcast(1.9875691500e-4f);
  for (const float c : COEFFICIENTS) p = p * r + c;
  p = p * r * r + r + 1;
  const ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
  return x < LOWEST ? vec{} : p * (vec)power;
}
