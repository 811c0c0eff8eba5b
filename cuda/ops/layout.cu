// reshape, permute, slice, concat, write_slice, dilate: copies that change the order of elements, any dtype.
// Floor: bound by memory, every byte read and written once.
// Layout: contiguous row-major. Dims that move together are merged. Rows that stay whole go in units of up to 16 bytes; a permutation that
// moves the last dim is a batch of 2-d transposes by tiles of 32 x 32 in shared memory, so that reads and writes are both whole sectors.
// Reference: torch.permute, narrow, cat, copy_; dilate: Dumoulin and Visin, "A guide to convolution arithmetic", 2016, section 4.6.
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/walk.h"
#include "cuda/ops/copy.h"

namespace ns::cuda {
namespace {
constexpr int kTile = 32, kTileRows = 8;
constexpr int64_t kNarrow = 8;  // below this many elements a side of a transpose leaves most of a tile idle

int64_t bytesOf(const NsTensor& t) { return static_cast<int64_t>(dtypeSize(dtype(t))); }

template <class U>
__global__ void copyKernel(const U* x, U* y, int64_t n, Divider row, Walk walk) {
  for (int64_t i = firstItem(); i < n; i += itemStep()) {
    int64_t f = i, t = i;
    if (walk.k) {
      const int64_t r = row.quotient(i), c = i - r * row.d;
      walk.at(r, &f, &t);
      f += c;
      t += c;
    }
    y[t] = x[f];
  }
}

template <class U>
Status copyAs(const Context& ctx, const void* x, void* y, int64_t size, const plan::Rows& c) {
  const int64_t unit = static_cast<int64_t>(sizeof(U)), row = c.n * size / unit, n = row * c.start.total;
  Walk walk;
  for (int i = 0; i < c.start.k; i++) walk.add(c.start.dims[i], c.start.from[i] * size / unit, c.start.to[i] * size / unit, n);
  return launch(ctx, copyKernel<U>, itemShape(ctx, n), static_cast<const U*>(x), static_cast<U*>(y), n, Divider(row, n), walk);
}

// y[b, a, c] = x[b, c, a] for planes that lie xs and ys apart by row.
template <class T>
__global__ void transposeKernel(const T* x, T* y, int64_t xs, int64_t ys, int64_t na, int64_t nb, Divider tilesA, Divider tilesB,
                                Walk batch, int64_t tiles) {
  __shared__ T tile[kTile][kTile + 1];
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t q = tilesA.quotient(t), p = tilesB.quotient(q);
    const int64_t a0 = (t - q * tilesA.d) * kTile, b0 = (q - p * tilesB.d) * kTile;
    int64_t f, o;
    batch.at(p, &f, &o);
    for (int i = ty; i < kTile; i += kTileRows) {
      if (b0 + i < nb && a0 + tx < na) tile[i][tx] = x[f + (b0 + i) * xs + a0 + tx];
    }
    __syncthreads();
    for (int i = ty; i < kTile; i += kTileRows) {
      if (a0 + i < na && b0 + tx < nb) y[o + (a0 + i) * ys + b0 + tx] = tile[tx][i];
    }
    __syncthreads();
  }
}

template <class T>
Status transposeAs(const Context& ctx, const NsCall& call, const plan::Transpose& p) {
  const int64_t ta = divUp(p.na, kTile), tb = divUp(p.nb, kTile), tiles = p.batch.total * ta * tb;
  const Shape shape{gridFor(ctx, tiles), dim3(kTile, kTileRows), 0};
  return launch(ctx, transposeKernel<T>, shape, in<T>(call, 0), out<T>(call, 0), p.xs, p.ys, p.na, p.nb, Divider(ta, tiles),
                Divider(tb, tiles), walkOf(p.batch, count(call.in[0])), tiles);
}

// `rows` rows of n elements that lie xs and ys apart.
Status copyStrided(const Context& ctx, const void* x, int64_t xs, void* y, int64_t ys, int64_t n, int64_t rows, int64_t size) {
  plan::Rows c;
  c.n = n;
  if (rows == 1 || (xs == n && ys == n)) {
    c.n = n * rows;
  } else {
    c.start.add(rows, xs, ys);
  }
  return copyRows(ctx, x, y, static_cast<size_t>(size), c);
}

struct Dilation {
  Divider pixel, w, h;  // of the output: units of a pixel, its width, its height
  Divider stride;
  int64_t inH, inW;
};

template <class U>
__global__ void dilateKernel(const U* x, U* y, int64_t n, Dilation d) {
  for (int64_t i = firstItem(); i < n; i += itemStep()) {
    const int64_t at = d.pixel.quotient(i), row = d.w.quotient(at), b = d.h.quotient(row);
    const int64_t oy = row - b * d.h.d, ox = at - row * d.w.d, iy = d.stride.quotient(oy), ix = d.stride.quotient(ox);
    const bool own = iy * d.stride.d == oy && ix * d.stride.d == ox;
    y[i] = own ? x[((b * d.inH + iy) * d.inW + ix) * d.pixel.d + i - at * d.pixel.d] : U{};
  }
}

template <class U>
Status dilateAs(const Context& ctx, const NsCall& call, int64_t s) {
  const NsTensor& t = call.in[0];
  const int64_t unit = static_cast<int64_t>(sizeof(U)), h = t.dims[1], w = t.dims[2], pixel = t.dims[3] * bytesOf(t) / unit;
  const int64_t H = (h - 1) * s + 1, W = (w - 1) * s + 1, n = t.dims[0] * H * W * pixel;
  const Dilation d{Divider(pixel, n), Divider(W, n), Divider(H, n), Divider(s, n), h, w};
  return launch(ctx, dilateKernel<U>, itemShape(ctx, n), in<U>(call, 0), out<U>(call, 0), n, d);
}
}  // namespace

Status copyRows(const Context& ctx, const void* x, void* y, size_t size, const plan::Rows& c) {
  const int64_t s = static_cast<int64_t>(size), n = c.n * c.start.total;
  int64_t bits = static_cast<int64_t>(reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y)) | (c.n * s);
  for (int i = 0; i < c.start.k; i++) bits |= c.start.from[i] * s | c.start.to[i] * s;
  if (n == 0) return {};
  if (c.start.k == 0) return check(cudaMemcpyAsync(y, x, static_cast<size_t>(n * s), cudaMemcpyDeviceToDevice, ctx.stream), "copy");
  if (bits % 16 == 0) return copyAs<Pack<uint32_t, 4>>(ctx, x, y, s, c);
  if (bits % 8 == 0) return copyAs<Pack<uint32_t, 2>>(ctx, x, y, s, c);
  if (bits % 4 == 0) return copyAs<uint32_t>(ctx, x, y, s, c);
  return bits % 2 == 0 ? copyAs<uint16_t>(ctx, x, y, s, c) : copyAs<uint8_t>(ctx, x, y, s, c);
}

namespace ops {

Status reshape(const Context& ctx, const NsCall& call, const op::reshape::Params&) {
  return copyStrided(ctx, call.in[0].data, 0, call.out[0].data, 0, count(call.in[0]), 1, bytesOf(call.in[0]));
}

Status permute(const Context& ctx, const NsCall& call, const op::permute::Params& p) {
  const NsTensor& x = call.in[0];
  if (count(x) == 0) return {};
  const plan::Permutation permutation = plan::permutationOf(x, p.order);
  const plan::Transpose t = plan::transposeOf(permutation);
  if (permutation.keepsRows() || t.na < kNarrow || t.nb < kNarrow)
    return copyRows(ctx, x.data, call.out[0].data, dtypeSize(dtype(x)), plan::rowsOf(permutation));
  switch (bytesOf(x)) {
    case 1: return transposeAs<uint8_t>(ctx, call, t);
    case 2: return transposeAs<uint16_t>(ctx, call, t);
    default: return transposeAs<uint32_t>(ctx, call, t);
  }
}

Status slice(const Context& ctx, const NsCall& call, const op::slice::Params& p) {
  const plan::Split s = plan::splitAt(call.in[0], p.axis);
  const int64_t size = bytesOf(call.in[0]), n = p.size * s.inner;
  return copyStrided(ctx, in<char>(call, 0) + p.start * s.inner * size, s.n * s.inner, call.out[0].data, n, n, s.outer, size);
}

Status concat(const Context& ctx, const NsCall& call, const op::concat::Params& p) {
  const plan::Split a = plan::splitAt(call.in[0], p.axis), b = plan::splitAt(call.in[1], p.axis);
  const int64_t size = bytesOf(call.in[0]), na = a.n * a.inner, nb = b.n * b.inner;
  char* y = out<char>(call, 0);
  if (Status s = copyStrided(ctx, call.in[0].data, na, y, na + nb, na, a.outer, size); !s.ok()) return s;
  return copyStrided(ctx, call.in[1].data, nb, y + na * size, na + nb, nb, b.outer, size);
}

Status write_slice(const Context& ctx, const NsCall& call, const op::write_slice::Params& p) {
  const plan::Split d = plan::splitAt(call.in[0], p.axis), s = plan::splitAt(call.in[1], p.axis);
  const int64_t size = bytesOf(call.in[0]), n = s.n * s.inner;
  return copyStrided(ctx, call.in[1].data, n, mut<char>(call, 0) + p.start * d.inner * size, d.n * d.inner, n, d.outer, size);
}

Status dilate(const Context& ctx, const NsCall& call, const op::dilate::Params& p) {
  const NsTensor& x = call.in[0];
  if (x.ndim != 4 || p.stride < 1) return failure(NS_INVALID, "[dilate] x has %d dims, needs 4; stride is %d", x.ndim, p.stride);
  if (count(x) == 0) return {};
  const bool aligned = aligned16(x.data) && aligned16(call.out[0].data);
  const int64_t pixel = x.dims[3] * bytesOf(x);
  if (aligned && pixel % 16 == 0) return dilateAs<Pack<uint32_t, 4>>(ctx, call, p.stride);
  return bytesOf(x) == 2 ? dilateAs<uint16_t>(ctx, call, p.stride) : dilateAs<uint32_t>(ctx, call, p.stride);
}

}  // namespace ops
}  // namespace ns::cuda
