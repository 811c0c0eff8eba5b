// What backends work out on the host before they walk tensors: dims that move together merged, and where each position lies. Plain
// arithmetic on shapes; row-major, contiguous.
#pragma once
#include "native/abi/backend.h"
#include "native/abi/gen/ops.h"

namespace ns::plan {

// Positions counted over k dims, of which the first runs fastest, with the elements they step in two tensors.
struct Positions {
  int k = 0;
  int64_t total = 1;
  int64_t dims[NS_MAX_DIMS], from[NS_MAX_DIMS], to[NS_MAX_DIMS];
  void add(int64_t n, int64_t f, int64_t t) {
    dims[k] = n;
    from[k] = f;
    to[k++] = t;
    total *= n;
  }
  void at(int64_t index, int64_t* f, int64_t* t) const {
    int64_t a = 0, b = 0;
    for (int i = 0; i < k; i++) {
      const int64_t q = index / dims[i], r = index - q * dims[i];
      a += r * from[i];
      b += r * to[i];
      index = q;
    }
    *f = a;
    *t = b;
  }
  // In the first tensor alone.
  int64_t offset(int64_t index) const {
    int64_t f, t;
    at(index, &f, &t);
    return f;
  }
};

inline int64_t dimFromEnd(const NsTensor& t, int i) { return i < t.ndim ? t.dims[t.ndim - 1 - i] : 1; }

// The dims before, at and behind an axis.
struct Split {
  int64_t outer = 1, n = 1, inner = 1;
};
inline Split splitAt(const NsTensor& t, int axis) {
  if (axis < 0) axis += t.ndim;
  Split s;
  for (int i = 0; i < t.ndim; i++) (i < axis ? s.outer : i == axis ? s.n : s.inner) *= t.dims[i];
  return s;
}

// Output dims (outermost first) with the stride each has in the input; at least one.
struct Permutation {
  int k = 0;
  int64_t dims[NS_MAX_DIMS], stride[NS_MAX_DIMS];
  int64_t row() const { return dims[k - 1]; }
  bool keepsRows() const { return stride[k - 1] == 1; }
};
inline Permutation permutationOf(const NsTensor& x, const op::Dims& order) {
  int64_t strides[NS_MAX_DIMS];
  int64_t run = 1;
  for (int i = x.ndim - 1; i >= 0; i--) {
    strides[i] = run;
    run *= x.dims[i];
  }
  Permutation p;
  for (int i = 0; i < x.ndim; i++) {
    const int from = order.d[i];
    if (x.dims[from] == 1) continue;
    if (p.k && p.stride[p.k - 1] == strides[from] * x.dims[from]) {
      p.dims[p.k - 1] *= x.dims[from];
      p.stride[p.k - 1] = strides[from];
      continue;
    }
    p.dims[p.k] = x.dims[from];
    p.stride[p.k++] = strides[from];
  }
  if (p.k == 0) {
    p.k = 1;
    p.dims[0] = 1;
    p.stride[0] = 1;
  }
  return p;
}

// A permutation as rows of n contiguous elements: whole ones where it keeps rows, else single elements.
struct Rows {
  int64_t n = 1;
  Positions start;
};
inline Rows rowsOf(const Permutation& p) {
  Rows r;
  if (p.keepsRows()) r.n = p.row();
  int64_t run = r.n;
  for (int i = p.keepsRows() ? p.k - 2 : p.k - 1; i >= 0; i--) {
    r.start.add(p.dims[i], p.stride[i], run);
    run *= p.dims[i];
  }
  return r;
}

// A permutation that keeps no rows as transposes y[a * ys + b] = x[b * xs + a] for a < na, b < nb: the dim that is last in the input
// against the one that is last in the output; the others are batches.
struct Transpose {
  int64_t na = 1, nb, xs, ys = 1;
  Positions batch;
};
inline Transpose transposeOf(const Permutation& p) {
  Transpose t;
  t.nb = p.row();
  t.xs = p.stride[p.k - 1];
  int64_t run = t.nb;
  for (int i = p.k - 2; i >= 0; i--) {
    if (p.stride[i] == 1) {
      t.na = p.dims[i];
      t.ys = run;
    } else {
      t.batch.add(p.dims[i], p.stride[i], run);
    }
    run *= p.dims[i];
  }
  return t;
}

// Two operands broadcast to y, as rows of n elements. An operand with step false is one value per row.
struct Broadcast {
  int64_t n = 1;
  bool aStep = true, bStep = true;
  Positions rows;  // from: a, to: b
};
inline Broadcast broadcastOf(const NsTensor& a, const NsTensor& b, const NsTensor& y) {
  int64_t dims[NS_MAX_DIMS], as[NS_MAX_DIMS], bs[NS_MAX_DIMS];
  int k = 0;
  int64_t aRun = 1, bRun = 1;
  for (int i = 0; i < y.ndim; i++) {
    const int64_t n = dimFromEnd(y, i), da = dimFromEnd(a, i), db = dimFromEnd(b, i);
    const int64_t sa = da == 1 ? 0 : aRun, sb = db == 1 ? 0 : bRun;
    aRun *= da;
    bRun *= db;
    if (n == 1) continue;
    if (k && sa == as[k - 1] * dims[k - 1] && sb == bs[k - 1] * dims[k - 1]) {
      dims[k - 1] *= n;
      continue;
    }
    dims[k] = n;
    as[k] = sa;
    bs[k++] = sb;
  }
  Broadcast m;
  if (k == 0) return m;
  m.n = dims[0];
  m.aStep = as[0] != 0;
  m.bStep = bs[0] != 0;
  for (int i = 1; i < k; i++) m.rows.add(dims[i], as[i], bs[i]);
  return m;
}

// A tensor as an innermost run of n values, kept in or repeated over a smaller one, and the other dims of both kinds.
struct Kept {
  int64_t n = 1;
  bool inner = true;  // the run is kept
  Positions kept, repeated;
};
// kept(i): whether the i-th dim from the end is.
template <class F>
Kept keptWhere(const NsTensor& large, F kept) {
  int64_t dims[NS_MAX_DIMS], stride[NS_MAX_DIMS], run = 1;
  bool keep[NS_MAX_DIMS];
  int k = 0;
  for (int i = 0; i < large.ndim; i++) {
    const int64_t n = dimFromEnd(large, i), step = run;
    run *= n;
    if (n == 1) continue;
    if (k && keep[k - 1] == kept(i)) {
      dims[k - 1] *= n;
      continue;
    }
    dims[k] = n;
    stride[k] = step;
    keep[k++] = kept(i);
  }
  Kept s;
  if (k == 0) return s;
  s.n = dims[0];
  s.inner = keep[0];
  for (int i = 1; i < k; i++) (keep[i] ? s.kept : s.repeated).add(dims[i], stride[i], 0);
  return s;
}
inline Kept keptOf(const NsTensor& large, const NsTensor& small) {
  return keptWhere(large, [&](int i) { return i < small.ndim && dimFromEnd(small, i) == dimFromEnd(large, i); });
}

}  // namespace ns::plan
