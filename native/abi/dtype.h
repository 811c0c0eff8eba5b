#pragma once
#include <cstddef>
#include <cstdint>

namespace ns {

// Order is part of the wire format.
enum class DType : int32_t { f32 = 0, f16 = 1, bf16 = 2, i32 = 3, u8 = 4 };

constexpr size_t dtypeSize(DType t) { return t == DType::f32 || t == DType::i32 ? 4 : t == DType::u8 ? 1 : 2; }

constexpr const char* dtypeName(DType t) {
  switch (t) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
  }
  return "?";
}

}  // namespace ns
