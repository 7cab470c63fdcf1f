// The layers of the page's decoders, in float32 with 128-bit SIMD. Pictures lie channels last, with a border of zeros:
// (side + 2, side + 2, channels). Channels are multiples of 8.
//
// A transposed convolution of 4 x 4, stride 2, padding 1, is four convolutions of 2 x 2, one for each phase: the output's
// even and odd rows and columns.
//
// Made into kernel.wasm, and into kernel-relaxed.wasm for browsers that multiply and add in one instruction, by Debian's
// clang-19 and lld-19:
//
//     build="clang-19 --target=wasm32 -O3 -msimd128 -nostdlib -Wl,--no-entry -Wl,--strip-all kernel.c"
//     $build -o kernel.wasm && $build -mrelaxed-simd -o kernel-relaxed.wasm

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define LOAD wasm_v128_load
#define STORE wasm_v128_store
#define ADD wasm_f32x4_add
#define SUB wasm_f32x4_sub
#define MUL wasm_f32x4_mul
#define ALL wasm_f32x4_splat
#ifdef __wasm_relaxed_simd__
#define MULADD wasm_f32x4_relaxed_madd
#else
#define MULADD(a, b, sum) ADD(MUL(a, b), sum)
#endif
#define RELU(x) wasm_f32x4_pmax(ALL(0), x)

// Which of the four rows (or columns) of a kernel a phase takes, from the first input row that it sees.
static const int TAPS[2][2] = {{3, 1}, {2, 0}};

extern unsigned char __heap_base;
static uint32_t top = 0;

// Room for numbers, all 0, which stays.
EXPORT(room) float *room(uint32_t count) {
  if (!top) top = ((uint32_t)&__heap_base + 63) & ~63u;
  uint32_t at = top;
  top += (4 * count + 63) & ~63u;
  int32_t lacking = ((top + 65535) >> 16) - __builtin_wasm_memory_size(0);
  if (lacking > 0 && __builtin_wasm_memory_grow(0, lacking) == (uint32_t)-1) __builtin_trap();
  return (float *)at;
}

// Weights (k, n) as `dense` reads them, (n / 8, k, 8). The one from input i to output j, which is channel j % channels of
// place j / channels, stands at from[i * by_input + j % channels * by_channel + j / channels * by_place]. Inputs
// from `inputs` on and outputs from `outputs` on are padding: their weights are 0.
EXPORT(pack) void pack(const float *from, int inputs, int k, int outputs, int n, int channels, int by_input, int by_channel,
                       int by_place, const float *scale, float *to) {
  for (int j = 0; j < n; j++)
    for (int i = 0; i < k; i++) {
      int at = i * by_input + j % channels * by_channel + j / channels * by_place;
      to[(j / 8 * k + i) * 8 + j % 8] = i < inputs && j < outputs ? from[at] * scale[j % channels] : 0;
    }
}

// Rows that `multiply` takes at a time: their sums, two weights and a value or two fill the sixteen registers.
#ifdef __wasm_relaxed_simd__
enum { ROWS = 6 };
#else
enum { ROWS = 4 };
#endif

// 8 outputs for each of `rows` rows.
static inline __attribute__((always_inline)) void multiply_rows(const int rows, const float *x, int k, const float *w,
                                                                const float *b, int n, float *y, int is_relu) {
  v128_t sum[rows][2];
  for (int p = 0; p < rows; p++) sum[p][0] = b ? LOAD(b) : ALL(0), sum[p][1] = b ? LOAD(b + 4) : ALL(0);
  for (int c = 0; c < k; c++, x++, w += 8) {
    v128_t first = LOAD(w), second = LOAD(w + 4);
    for (int p = 0; p < rows; p++) {
      v128_t value = wasm_v128_load32_splat(x + p * k);
      sum[p][0] = MULADD(value, first, sum[p][0]);
      sum[p][1] = MULADD(value, second, sum[p][1]);
    }
  }
  for (int p = 0; p < rows; p++)
    for (int q = 0; q < 2; q++) STORE(y + p * n + 4 * q, is_relu ? RELU(sum[p][q]) : sum[p][q]);
}

// y (m, n) = x (m, k) w + b; n is a multiple of 8. x and y have room for an even number of rows.
static inline void multiply(const float *x, int m, int k, const float *w, const float *b, int n, float *y, int is_relu) {
  for (int j = 0; j < n; j += 8, w += 8 * k) {
    const float *bias = b ? b + j : 0;
    int i = 0;
    for (; i + ROWS <= m; i += ROWS) multiply_rows(ROWS, x + i * k, k, w, bias, n, y + i * n + j, is_relu);
    if (i + 4 <= m) multiply_rows(4, x + i * k, k, w, bias, n, y + i * n + j, is_relu), i += 4;
    for (; i < m; i += 2) multiply_rows(2, x + i * k, k, w, bias, n, y + i * n + j, is_relu);
  }
}

EXPORT(dense) void dense(const float *x, int m, int k, const float *w, const float *b, int n, float *y, int is_relu) {
  multiply(x, m, k, w, b, n, y, is_relu);
}

// How many tiles `up` computes at a time, so that they stay in the processor's cache.
enum { TILES = 16 };

// The room for one number of each of these tiles' channels. Without the 16, what is read together would often lie a
// multiple of 4096 bytes apart, and caches keep little of that.
#define TILES_OF(channels) (TILES * (channels) + 16)

// Winograd's minimal filtering with three taps, F(2, 3) and F(4, 3) (Lavin & Gray 2016): `size` outputs are made of
// size + 2 products, each of the inputs and the taps as polynomials at one point. The points are 0, 1, -1, infinity, or
// 0, 1, -1, 2, -2, infinity. All phases read the same inputs, but each has two of the three taps: an even phase's last
// tap is 0, and so is its product at infinity; an odd phase's first tap is 0, and so is its product at 0. So a phase of
// a picture needs (size + 1)^2 products.
static const float POINTS_2[4][3] = {{1, 0, 0}, {1 / 2.f, 1 / 2.f, 1 / 2.f}, {1 / 2.f, -1 / 2.f, 1 / 2.f}, {0, 0, 1}};
static const float POINTS_4[6][3] = {{1 / 4.f, 0, 0},
                                     {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                     {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                     {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                     {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                     {0, 0, 1}};

// A transposed convolution's weights (inputs, outputs, 4, 4) as `up` reads them,
// (4 phases, (size + 1)^2 points, outputs / 8, inputs, 8).
EXPORT(fold_up) void fold_up(const float *from, int size, int inputs, int outputs, const float *scale, float *to) {
  const float(*points)[3] = size == 4 ? POINTS_4 : POINTS_2;
  int count = size + 1;
  for (int phase = 0; phase < 4; phase++, to += count * count * inputs * outputs)
    for (int at = 0; at < inputs * outputs; at++) {
      int rows = phase >> 1, columns = phase & 1, o = at / (8 * inputs) * 8 + at % 8, i = at / 8 % inputs;
      const float *kernel = from + (i * outputs + o) * 16;
      for (int y = 0; y < count; y++) {
        const float *row = points[rows + y] + rows;
        float taps[2];
        for (int x = 0; x < 2; x++) {
          const float *tap = kernel + TAPS[columns][x];
          taps[x] = (row[0] * tap[4 * TAPS[rows][0]] + row[1] * tap[4 * TAPS[rows][1]]) * scale[o];
        }
        for (int x = 0; x < count; x++) {
          const float *column = points[columns + x] + columns;
          to[(y * count + x) * inputs * outputs + at] = column[0] * taps[0] + column[1] * taps[1];
        }
      }
    }
}

// size + 2 inputs, `step` apart, to as many points.
static inline void to_points(int size, const v128_t *d, int step, v128_t *to) {
  v128_t d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  if (size == 2) {
    to[0] = SUB(d0, d2);
    to[1] = ADD(d1, d2);
    to[2] = SUB(d2, d1);
    to[3] = SUB(d3, d1);
    return;
  }
  v128_t d4 = d[4 * step], d5 = d[5 * step], even = SUB(d4, d2), odd = SUB(d3, d1);
  v128_t evens = MULADD(ALL(-4), d2, d4), odds = MULADD(ALL(-4), d1, d3);
  to[0] = MULADD(ALL(4), SUB(d0, d2), even);
  to[1] = ADD(evens, odds);
  to[2] = SUB(evens, odds);
  to[3] = MULADD(ALL(2), odd, even);
  to[4] = MULADD(ALL(-2), odd, even);
  to[5] = MULADD(ALL(-4), odd, SUB(d5, d3));
}

// The size + 1 products of an even or an odd phase, `step` apart, to `size` outputs.
static inline void from_points(int size, int is_odd, const v128_t *m, int step, v128_t *to) {
  v128_t end = m[is_odd ? size * step : 0];
  if (!is_odd) m += step;
  v128_t even = ADD(m[0], m[step]), odd = SUB(m[0], m[step]);
  if (size == 4) {
    v128_t evens = ADD(m[2 * step], m[3 * step]), odds = SUB(m[2 * step], m[3 * step]);
    to[0] = ADD(even, evens);
    to[1] = MULADD(ALL(2), odds, odd);
    to[2] = MULADD(ALL(4), evens, even);
    to[3] = MULADD(ALL(8), odds, odd);
  } else {
    to[0] = even;
    to[1] = odd;
  }
  to[is_odd ? size - 1 : 0] = ADD(to[is_odd ? size - 1 : 0], end);
}

static inline __attribute__((always_inline)) void up_by(const int size, const float *x, int faces, int side, int inputs,
                                                        int outputs, const float *w, const float *b, float *y, float *v,
                                                        float *m) {
  int wide = side + 2, out = 2 * side + 2, across = side / size, all = faces * across * across, points = size + 2;
  int apart_in = TILES_OF(inputs), apart_out = TILES_OF(outputs);
  for (int start = 0; start < all; start += TILES) {
    int tiles = all - start < TILES ? all - start : TILES;
    for (int t = 0; t < tiles; t++) {
      int face = (start + t) / (across * across), row = (start + t) / across % across, column = (start + t) % across;
      const float *from = x + ((face * wide + size * row) * wide + size * column) * inputs;
      float *to = v + t * inputs;
      for (int c = 0; c < inputs; c += 4) {
        v128_t d[36], rows[36];
        for (int j = 0; j < points; j++) {
          for (int i = 0; i < points; i++) d[i] = LOAD(from + (i * wide + j) * inputs + c);
          to_points(size, d, 1, rows + j * points);
        }
        for (int i = 0; i < points; i++) {
          to_points(size, rows + i, points, d);
          for (int j = 0; j < points; j++) STORE(to + (i * points + j) * apart_in + c, d[j]);
        }
      }
    }
    for (int phase = 0; phase < 4; phase++) {
      int odd_row = phase >> 1, odd_column = phase & 1, count = size + 1;
      for (int k = 0; k < count * count; k++) {
        const float *at = v + ((k / count + odd_row) * points + k % count + odd_column) * apart_in;
        const float *weights = w + (phase * count * count + k) * inputs * outputs;
        multiply(at, tiles, inputs, weights, 0, outputs, m + k * apart_out, 0);
      }
      for (int t = 0; t < tiles; t++) {
        int face = (start + t) / (across * across), row = (start + t) / across % across, column = (start + t) % across;
        const float *from = m + t * outputs;
        float *to = y + ((face * out + 2 * size * row + odd_row + 1) * out + 2 * size * column + odd_column + 1) * outputs;
        for (int c = 0; c < outputs; c += 4) {
          v128_t products[25], rows[20], bias = LOAD(b + c);
          for (int j = 0; j < count; j++) {
            for (int i = 0; i < count; i++) products[i] = LOAD(from + (i * count + j) * apart_out + c);
            from_points(size, odd_row, products, 1, rows + j * size);
          }
          for (int i = 0; i < size; i++) {
            from_points(size, odd_column, rows + i, size, products);
            for (int j = 0; j < size; j++) STORE(to + 2 * (i * out + j) * outputs + c, RELU(ADD(products[j], bias)));
          }
        }
      }
    }
  }
}

// A transposed convolution and ReLU: x (faces, side + 2, side + 2, inputs) to y (faces, 2 side + 2, 2 side + 2, outputs).
// Tiles are of size x size outputs of a phase; size is 2 or 4 and divides side. v is room for (size + 2)^2 times
// TILES_OF(inputs), m for (size + 1)^2 times TILES_OF(outputs).
EXPORT(up) void up(const float *x, int size, int faces, int side, int inputs, int outputs, const float *w, const float *b,
                   float *y, float *v, float *m) {
  if (size == 4) up_by(4, x, faces, side, inputs, outputs, w, b, y, v, m);
  else up_by(2, x, faces, side, inputs, outputs, w, b, y, v, m);
}

// As Eigen computes it, which PyTorch and ONNX Runtime use: a ratio of polynomials, right to float32's last bits.
static inline v128_t tanh4(v128_t x) {
  x = wasm_f32x4_pmin(ALL(7.90531110763549805f), wasm_f32x4_pmax(ALL(-7.90531110763549805f), x));
  v128_t square = MUL(x, x);
  static const float above[7] = {-2.76076847742355e-16f, 2.00018790482477e-13f, -8.60467152213735e-11f, 5.12229709037114e-08f,
                                 1.48572235717979e-05f,  6.37261928875436e-04f, 4.89352455891786e-03f};
  static const float below[4] = {1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f, 4.89352518554385e-03f};
  v128_t p = ALL(above[0]), q = ALL(below[0]);
  for (int i = 1; i < 7; i++) p = ADD(MUL(square, p), ALL(above[i]));
  for (int i = 1; i < 4; i++) q = ADD(MUL(square, q), ALL(below[i]));
  return wasm_f32x4_div(MUL(x, p), q);
}

// [-1, 1] to RGBA, rounded to even as models/images.py does.
static inline uint32_t pixel(v128_t x) {
  v128_t grey = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(MUL(ADD(tanh4(x), ALL(1)), ALL(127.5f))));
  grey = wasm_i16x8_narrow_i32x4(grey, grey);
  return wasm_i32x4_extract_lane(wasm_u8x16_narrow_i16x8(grey, grey), 0) | 0xff000000u;
}

// The last layer and Tanh: one face's x (side + 2, side + 2, inputs) to 64 x 64 pixels, by a transposed convolution of
// 4 x 4 where side is 32, or a convolution of 3 x 3 where it is 64. All places are multiplied by all taps first, with
// weights (inputs, n) of which the first are (taps, 3 colours); then the products that belong to a pixel are summed.
// `products` is room for all of them and one more.
EXPORT(last) void last(const float *x, int side, int inputs, const float *w, const float *b, int n, float *products,
                       uint32_t *to) {
  int wide = side + 2, is_up = side < 64, taps = is_up ? 2 : 3;
  for (int row = 0; row < wide; row++)
    multiply(x + row * wide * inputs, wide, inputs, w, 0, n, products + row * wide * n, 0);
  for (int row = 0; row < 64; row++)
    for (int column = 0; column < 64; column++) {
      const float *from = products;
      from += is_up ? (((row + 1) >> 1) * wide + ((column + 1) >> 1)) * n : (row * wide + column) * n;
      v128_t sum = LOAD(b);
      for (int i = 0; i < taps; i++)
        for (int j = 0; j < taps; j++) {
          int tap = is_up ? 4 * TAPS[row & 1][i] + TAPS[column & 1][j] : 3 * i + j;
          sum = ADD(sum, LOAD(from + (i * wide + j) * n + 3 * tap));
        }
      to[row * 64 + column] = pixel(sum);
    }
}
