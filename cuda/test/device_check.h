// What the tests of kernels share: buffers with guards, a context, reference values. Runs on the emulation and on a device alike.
#pragma once
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cuda/common/half.h"
#include "cuda/common/launch.h"
#include "native/test/check.h"

namespace ns::cuda::test {

using ns::test::check;

struct GrowingScratch : Scratch {
  ~GrowingScratch() override {
    for (void* p : slot) cudaFree(p);
  }
  void* bytes(int i, size_t n) override {
    if (n > size[i]) {
      cudaFree(slot[i]);
      if (cudaMalloc(&slot[i], n) != cudaSuccess) throw std::bad_alloc();
      size[i] = n;
    }
    return slot[i];
  }
  void* slot[8] = {};
  size_t size[8] = {};
};

// What kernels are given besides tensors: scratch memory, and a place to tell of wrong data.
class TestDevice {
 public:
  static constexpr int kOp = 77;  // what calls are told to be

  TestDevice() = default;
  TestDevice(const TestDevice&) = delete;
  TestDevice& operator=(const TestDevice&) = delete;
  ~TestDevice() { cudaFree(error_); }

  // A GPU of `sms` multiprocessors, by which kernels choose tiles and splits.
  Context context(int sms = 132) { return Context{nullptr, error(), kOp, sms, arch(), 227 * 1024, false, false, memory_, libraries_}; }
  // What kernels told of since the last call.
  DeviceError takeError() {
    DeviceError e;
    cudaMemcpy(&e, error(), sizeof(e), cudaMemcpyDeviceToHost);
    cudaMemset(error(), 0, sizeof(e));
    return e;
  }

 private:
  static int arch() {
    static const int one = [] {
      int major = 0, minor = 0;
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
      return major * 10 + minor;
    }();
    return one;
  }
  // At first use: before main() there may be no runtime yet.
  DeviceError* error() {
    if (error_) return error_;
    cudaMalloc(reinterpret_cast<void**>(&error_), sizeof(DeviceError));
    cudaMemset(error_, 0, sizeof(DeviceError));
    return error_;
  }

  DeviceError* error_ = nullptr;
  GrowingScratch memory_;
  Libraries libraries_;
};
inline TestDevice device;

// A tensor on the device, `shift` elements past an aligned address, with guards that must not change on either side.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::vector<int64_t> dims, DType type, int shift = 0) : type_(type), dims_(std::move(dims)) {
    count_ = 1;
    for (int64_t d : dims_) count_ *= d;
    before_ = kGuard + static_cast<size_t>(shift) * dtypeSize(type);
    host_.assign(before_ + static_cast<size_t>(count_) * dtypeSize(type) + kGuard, kSentinel);
    cudaMalloc(&data_, host_.size());
    cudaMemcpy(data_, host_.data(), host_.size(), cudaMemcpyHostToDevice);
  }
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(host_, o.host_);
    std::swap(dims_, o.dims_);
    type_ = o.type_, count_ = o.count_, before_ = o.before_;
    return *this;
  }
  ~Buffer() { cudaFree(data_); }

  int64_t count() const { return count_; }
  DType type() const { return type_; }
  void* data() const { return data_ ? static_cast<char*>(data_) + before_ : nullptr; }
  NsTensor tensor() const {
    NsTensor t{data(), static_cast<int32_t>(type_), static_cast<int32_t>(dims_.size()), {}};
    for (size_t i = 0; i < dims_.size(); i++) t.dims[i] = dims_[i];
    return t;
  }
  // Uniform in [-1, 1]; returns what the dtype keeps of it.
  std::vector<double> random(std::mt19937& rng) {
    std::uniform_real_distribution<float> draw(-1, 1);
    std::vector<double> v(static_cast<size_t>(count_));
    for (double& x : v) x = draw(rng);
    return set(v);
  }
  std::vector<double> set(const std::vector<double>& v) {
    std::vector<double> kept(v.size());
    for (size_t i = 0; i < v.size(); i++) kept[i] = put(i, static_cast<float>(v[i]));
    cudaMemcpy(data_, host_.data(), host_.size(), cudaMemcpyHostToDevice);
    return kept;
  }
  std::vector<double> get() {
    cudaMemcpy(host_.data(), data_, host_.size(), cudaMemcpyDeviceToHost);
    std::vector<double> v(static_cast<size_t>(count_));
    for (size_t i = 0; i < v.size(); i++) v[i] = at(i);
    return v;
  }
  // After get()
  bool guarded() const {
    const size_t end = before_ + static_cast<size_t>(count_) * dtypeSize(type_);
    for (size_t i = 0; i < host_.size(); i++) {
      if ((i < before_ || i >= end) && host_[i] != kSentinel) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr unsigned char kSentinel = 0xff;  // NaN in every float type

  float put(size_t i, float v) {
    unsigned char* p = host_.data() + before_ + i * dtypeSize(type_);
    const auto keep = [p](auto x) {
      std::memcpy(p, &x, sizeof(x));
      return toFloat(x);
    };
    return type_ == DType::f32 ? keep(v) : type_ == DType::f16 ? keep(fromFloat<f16>(v)) : keep(fromFloat<bf16>(v));
  }
  float at(size_t i) const {
    const unsigned char* p = host_.data() + before_ + i * dtypeSize(type_);
    const auto as = [p](auto x) {
      std::memcpy(&x, p, sizeof(x));
      return toFloat(x);
    };
    return type_ == DType::f32 ? as(float{}) : type_ == DType::f16 ? as(f16{}) : as(bf16{});
  }

  void* data_ = nullptr;
  std::vector<unsigned char> host_;
  DType type_ = DType::f32;
  std::vector<int64_t> dims_;
  int64_t count_ = 0;
  size_t before_ = 0;
};

// Largest error relative to max(1, largest value); NaN counts as infinite.
inline double errorOf(const std::vector<double>& got, const std::vector<double>& want) {
  double scale = 1, worst = 0;
  for (double v : want) scale = std::max(scale, std::abs(v));
  for (size_t i = 0; i < want.size(); i++) {
    const double e = std::abs(got[i] - want[i]) / scale;
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  return worst;
}

inline double roundingOf(DType t) { return t == DType::f32 ? 0 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }

// Runs an op that returns nothing; inputs and outputs as the engine would pass them.
template <class P>
Status run(const Context& ctx, Status (*op)(const Context&, const NsCall&, const P&), const P& p, const std::vector<const Buffer*>& in,
           const std::vector<const Buffer*>& out) {
  std::vector<NsTensor> ins, outs;
  for (const Buffer* b : in) ins.push_back(b ? b->tensor() : NsTensor{});
  for (const Buffer* b : out) outs.push_back(b->tensor());
  const NsCall call{ctx.op, static_cast<int32_t>(ins.size()), static_cast<int32_t>(outs.size()), ins.data(), outs.data(), &p};
  const Status s = op(ctx, call, p);
  if (!s.ok()) return s;
  return cuda::check(cudaStreamSynchronize(ctx.stream), "synchronize");
}

}  // namespace ns::cuda::test
