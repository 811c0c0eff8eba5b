// What nvcc knows as words of the language, and the built-in types, for an ordinary C++ compiler.
#pragma once
#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// All threads of a block run on one thread of the host, one block after another. Nothing else of the plug-in is thread_local without an
// initial value: scheduler.cpp fills this memory with NaN before a launch.
#define __shared__ static thread_local
#define CUDART_CB
#define CUDART_VERSION 13000

#define NS_VECTOR_TYPE(T, name)                                      \
  struct alignas(2 * sizeof(T)) name##2 {                            \
    T x, y;                                                          \
  };                                                                 \
  struct name##3 {                                                   \
    T x, y, z;                                                       \
  };                                                                 \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 {  \
    T x, y, z, w;                                                    \
  };                                                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
NS_VECTOR_TYPE(char, char)
NS_VECTOR_TYPE(unsigned char, uchar)
NS_VECTOR_TYPE(short, short)
NS_VECTOR_TYPE(unsigned short, ushort)
NS_VECTOR_TYPE(int, int)
NS_VECTOR_TYPE(unsigned, uint)
NS_VECTOR_TYPE(long long, longlong)
NS_VECTOR_TYPE(unsigned long long, ulonglong)
NS_VECTOR_TYPE(float, float)
NS_VECTOR_TYPE(double, double)
#undef NS_VECTOR_TYPE

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  operator uint3() const { return {x, y, z}; }
};
