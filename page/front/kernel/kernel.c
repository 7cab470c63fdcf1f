// The layers of the page's decoders, in float32 with 128-bit SIMD. Pictures lie channels last, with a border of zeros:
// (side + 2, side + 2, channels). Channels are multiples of 8.
//
// A transposed convolution of 4 x 4, stride 2, padding 1, is four convolutions of 2 x 2, one for each phase: the output's
// even and odd rows and columns.
//
// Made into kernel.wasm by Debian's clang-19 and lld-19:
//
//     clang-19 --target=wasm32 -O3 -msimd128 -nostdlib -Wl,--no-entry -Wl,--strip-all -o kernel.wasm kernel.c

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define LOAD wasm_v128_load
#define STORE wasm_v128_store
#define ADD wasm_f32x4_add
#define SUB wasm_f32x4_sub
#define MUL wasm_f32x4_mul
#define ALL wasm_f32x4_splat
#define MULADD(a, b, sum) ADD(sum, MUL(a, b))
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
// place j / channels, stands at from[i * by_input + j % channels * by_channel + j / channels * by_place]. Of the k inputs
// and n outputs the last may be there for the sake of their number only.
EXPORT(pack) void pack(const float *from, int inputs, int k, int outputs, int n, int channels, int by_input, int by_channel,
                       int by_place, const float *scale, float *to) {
  for (int j = 0; j < n; j++)
    for (int i = 0; i < k; i++) {
      int at = i * by_input + j % channels * by_channel + j / channels * by_place;
      to[(j / 8 * k + i) * 8 + j % 8] = i < inputs && j < outputs ? from[at] * scale[j % channels] : 0;
    }
}

// y (m, n) = x (m, k) w + b; m is a multiple of 4, n of 8.
static inline void multiply(const float *x, int m, int k, const float *w, const float *b, int n, float *y, int is_relu) {
  for (int j = 0; j < n; j += 8, w += 8 * k)
    for (int i = 0; i < m; i += 4) {
      v128_t sum[4][2];
      for (int p = 0; p < 4; p++) sum[p][0] = b ? LOAD(b + j) : ALL(0), sum[p][1] = b ? LOAD(b + j + 4) : ALL(0);
      const float *weight = w, *from = x + i * k;
      for (int c = 0; c < k; c++, weight += 8) {
        v128_t first = LOAD(weight), second = LOAD(weight + 4);
        for (int p = 0; p < 4; p++) {
          v128_t value = wasm_v128_load32_splat(from + p * k + c);
          sum[p][0] = MULADD(value, first, sum[p][0]);
          sum[p][1] = MULADD(value, second, sum[p][1]);
        }
      }
      for (int p = 0; p < 4; p++)
        for (int q = 0; q < 2; q++) STORE(y + (i + p) * n + j + 4 * q, is_relu ? RELU(sum[p][q]) : sum[p][q]);
    }
}

EXPORT(dense) void dense(const float *x, int m, int k, const float *w, const float *b, int n, float *y, int is_relu) {
  multiply(x, m, k, w, b, n, y, is_relu);
}

// A transposed convolution's weights (inputs, outputs, 4, 4) as `up` reads them, (4 phases, 9, outputs / 8, inputs, 8).
EXPORT(fold_up) void fold_up(const float *from, int inputs, int outputs, const float *scale, float *to) {
  for (int phase = 0; phase < 4; phase++)
    for (int i = 0; i < inputs; i++)
      for (int o = 0; o < outputs; o++) {
        const float *kernel = from + (i * outputs + o) * 16;
        const int *rows = TAPS[phase >> 1], *columns = TAPS[phase & 1];
        float a = kernel[4 * rows[0] + columns[0]] * scale[o], b = kernel[4 * rows[0] + columns[1]] * scale[o];
        float c = kernel[4 * rows[1] + columns[0]] * scale[o], d = kernel[4 * rows[1] + columns[1]] * scale[o];
        float folded[9] = {a, a + b, b, a + c, a + b + c + d, b + d, c, c + d, d};
        for (int k = 0; k < 9; k++)
          to[(((phase * 9 + k) * (outputs / 8) + o / 8) * inputs + i) * 8 + o % 8] = folded[k];
      }
}

// How many tiles of 2 x 2 outputs `up` computes at a time, so that they stay in the processor's cache.
enum { TILES = 64 };

// A transposed convolution and ReLU: x (faces, side + 2, side + 2, inputs) to y (faces, 2 side + 2, 2 side + 2, outputs),
// by Winograd's minimal filtering F(2 x 2, 2 x 2), 9 products in place of 16 (Lavin & Gray 2016). v and m are room for
// 9 x TILES x inputs and 9 x TILES x outputs.
EXPORT(up) void up(const float *x, int faces, int side, int inputs, int outputs, const float *w, const float *b, float *y,
                   float *v, float *m) {
  int wide = side + 2, out = 2 * side + 2, half = side / 2, all = faces * half * half;
  for (int phase = 0; phase < 4; phase++) {
    int odd_row = phase >> 1, odd_column = phase & 1;
    for (int start = 0; start < all; start += TILES) {
      int tiles = all - start < TILES ? all - start : TILES;
      for (int t = 0; t < tiles; t++) {
        int face = (start + t) / (half * half), row = (start + t) / half % half, column = (start + t) % half;
        const float *from = x + ((face * wide + 2 * row + odd_row) * wide + 2 * column + odd_column) * inputs;
        float *to = v + t * inputs;
        for (int c = 0; c < inputs; c += 4) {
          v128_t a[3][3];
          for (int j = 0; j < 3; j++) {
            v128_t middle = LOAD(from + (wide + j) * inputs + c);
            a[0][j] = SUB(LOAD(from + j * inputs + c), middle);
            a[1][j] = middle;
            a[2][j] = SUB(middle, LOAD(from + (2 * wide + j) * inputs + c));
          }
          for (int i = 0; i < 3; i++) {
            STORE(to + 3 * i * tiles * inputs + c, SUB(a[i][0], a[i][1]));
            STORE(to + (3 * i + 1) * tiles * inputs + c, a[i][1]);
            STORE(to + (3 * i + 2) * tiles * inputs + c, SUB(a[i][1], a[i][2]));
          }
        }
      }
      for (int k = 0; k < 9; k++) {
        const float *weights = w + (phase * 9 + k) * inputs * outputs;
        multiply(v + k * tiles * inputs, tiles, inputs, weights, 0, outputs, m + k * tiles * outputs, 0);
      }
      for (int t = 0; t < tiles; t++) {
        int face = (start + t) / (half * half), row = (start + t) / half % half, column = (start + t) % half;
        const float *from = m + t * outputs;
        float *to = y + ((face * out + 4 * row + odd_row + 1) * out + 4 * column + odd_column + 1) * outputs;
        for (int c = 0; c < outputs; c += 4) {
          v128_t a[2][3], bias = LOAD(b + c);
          for (int j = 0; j < 3; j++) {
            v128_t middle = LOAD(from + (3 + j) * tiles * outputs + c);
            a[0][j] = ADD(LOAD(from + j * tiles * outputs + c), middle);
            a[1][j] = SUB(middle, LOAD(from + (6 + j) * tiles * outputs + c));
          }
          for (int i = 0; i < 2; i++) {
            STORE(to + 2 * i * out * outputs + c, RELU(ADD(ADD(a[i][0], a[i][1]), bias)));
            STORE(to + (2 * i * out + 2) * outputs + c, RELU(ADD(SUB(a[i][1], a[i][2]), bias)));
          }
        }
      }
    }
  }
}

// The last layer's weights as the two functions below read them, (taps, inputs, 4): red, green, blue, nothing. A transposed
// convolution's, (inputs, 3, 4, 4), in four phases of four taps; a convolution's, (3, inputs, 3, 3), in nine taps.
EXPORT(fold_last) void fold_last(const float *from, int inputs, int is_up, float *to) {
  for (int tap = 0; tap < (is_up ? 16 : 9); tap++)
    for (int i = 0; i < inputs; i++, to += 4)
      for (int colour = 0; colour < 3; colour++) {
        int row = TAPS[tap >> 3][tap >> 1 & 1], column = TAPS[tap >> 2 & 1][tap & 1];
        to[colour] = is_up ? from[(i * 3 + colour) * 16 + 4 * row + column] : from[(colour * inputs + i) * 9 + tap];
      }
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

// Eight pixels' sums over taps of `columns` x `rows`, from the first tap of the first pixel.
static inline void gather(const float *x, int wide, int inputs, int rows, int columns, const float *w, v128_t sum[8]) {
  for (int row = 0; row < rows; row++)
    for (int column = 0; column < columns; column++)
      for (int i = 0; i < inputs; i++, w += 4) {
        v128_t weight = LOAD(w);
        const float *from = x + (row * wide + column) * inputs + i;
        for (int p = 0; p < 8; p++) sum[p] = MULADD(wasm_v128_load32_splat(from + p * inputs), weight, sum[p]);
      }
}

// The last transposed convolution and Tanh: one face's x (34, 34, inputs) to 64 x 64 pixels.
EXPORT(last_up) void last_up(const float *x, int inputs, const float *w, const float *b, uint32_t *to) {
  for (int phase = 0; phase < 4; phase++, w += 16 * inputs)
    for (int row = 0; row < 32; row++)
      for (int column = 0; column < 32; column += 8) {
        v128_t sum[8];
        for (int p = 0; p < 8; p++) sum[p] = LOAD(b);
        gather(x + ((row + (phase >> 1)) * 34 + column + (phase & 1)) * inputs, 34, inputs, 2, 2, w, sum);
        for (int p = 0; p < 8; p++) to[(2 * row + (phase >> 1)) * 64 + 2 * (column + p) + (phase & 1)] = pixel(sum[p]);
      }
}

// The last convolution of 3 x 3 and Tanh: one face's x (66, 66, inputs) to 64 x 64 pixels.
EXPORT(last_conv) void last_conv(const float *x, int inputs, const float *w, const float *b, uint32_t *to) {
  for (int row = 0; row < 64; row++)
    for (int column = 0; column < 64; column += 8) {
      v128_t sum[8];
      for (int p = 0; p < 8; p++) sum[p] = LOAD(b);
      gather(x + (row * 66 + column) * inputs, 66, inputs, 3, 3, w, sum);
      for (int p = 0; p < 8; p++) to[row * 64 + column + p] = pixel(sum[p]);
    }
}
