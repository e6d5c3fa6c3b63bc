// The forward pass of one Llama-shaped model: every size is a compile-time constant, all arithmetic is fp32.
//
// A weight matrix is packed in panels, [outputs / WIDTH][inputs][WIDTH]: one vector load gives one input's weights for
// WIDTH outputs. The KV cache has the same form (keys: the outputs are positions; values: they are head dimensions), so
// attention runs through the same register-blocked multiplication as the layers.
//
// All memory belongs to the caller, and one model runs one step at a time. -D gives LAYERS HIDDEN HEADS KV_HEADS
// HEAD_DIM FFN VOCAB MAX_LEN RMS_EPS THREADS and WEIGHT, one of bf16, float and int8_t.
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "team.h"
#include "vec.h"

struct bf16 {
  uint16_t bits;
};

using Weight = WEIGHT;
constexpr bool QUANTISED = std::is_same_v<Weight, int8_t>;
using Embedding = std::conditional_t<QUANTISED, float, Weight>;

constexpr int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// Inputs that one turn of the inner loop takes; a matrix is filled up with zeros to whole turns.
template <class W>
constexpr int INPUTS_AT_ONCE = sizeof(W) == 1 ? 4 : 2;
template <class W>
constexpr int whole_turns(int inputs) {
  return round_up(inputs, INPUTS_AT_ONCE<W>);
}

// Outputs of a matrix, and so the row length of what it writes; the surplus is zero because the packed weights are.
constexpr int padded(int outputs) { return round_up(outputs, WIDTH * BLOCK_PANELS); }

constexpr int GROUP = HEADS / KV_HEADS;
constexpr int QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
constexpr int HEAD_PADDED = round_up(HEAD_DIM, WIDTH);
constexpr int ATTENTION = HEADS * HEAD_PADDED;
constexpr int GATE_UP = 2 * round_up(FFN, WIDTH);
constexpr int POSITIONS = padded(MAX_LEN);
constexpr int SCORES = POSITIONS + WIDTH;  // rows a power of two apart would fall into one cache set
constexpr int TILE_ROWS = 96;              // enough rows to pay for reading the weights, few enough to stay in L2

static_assert(HEADS % KV_HEADS == 0 && HEAD_DIM % 2 == 0 && BLOCK_PANELS % 2 == 0);

struct Matrix {
  const Weight* panels;
  const float* scales;  // one per output; only for int8_t
};

struct Layer {
  const float* attention_norm;
  const float* ffn_norm;
  Matrix qkv;
  Matrix out;
  Matrix gate_up;  // a gate panel, its up panel, the next gate panel, …
  Matrix down;
};

struct KvHead {
  float keys[POSITIONS / WIDTH][HEAD_DIM][WIDTH];
  float values[HEAD_PADDED / WIDTH][POSITIONS][WIDTH];
};
using Slot = KvHead[LAYERS][KV_HEADS];

struct ThreadScratch {
  float normed[TILE_ROWS][padded(HIDDEN)];
  float queries[TILE_ROWS * GROUP][HEAD_DIM];
  float scores[BLOCK_ROWS][SCORES];
};

struct Scratch {
  float x[TILE_ROWS][padded(HIDDEN)];
  float qkv[TILE_ROWS][padded(QKV)];
  float attention[TILE_ROWS][ATTENTION];
  float ffn[TILE_ROWS][padded(GATE_UP) / 2];
  ThreadScratch threads[THREADS];
};

// Mirrored by `_Model` in kernel.py. Cache and scratch start as zeros.
struct Model {
  const Embedding* embedding;
  const Layer* layers;
  const float* final_norm;
  Matrix head;
  const float (*cos)[HEAD_DIM / 2];
  const float (*sin)[HEAD_DIM / 2];
  Slot* cache;
  Scratch* scratch;
  const int32_t* tokens;
  const int32_t* positions;
  const int32_t* slots;
  const int32_t* wanted;  // 1 for rows whose logits are asked for
  float (*logits)[padded(VOCAB)];
  int32_t* best;
  int32_t slot_count;
};

namespace {

// A panel holds its inputs in groups that fill 32-bit lanes: one float, two bf16 or four int8. Weights of input INDEX
// after those at `panel`, which begins a group.
template <int INDEX>
INLINE vec weights_of(const float* panel) {
  return load(panel + INDEX * WIDTH);
}
template <int INDEX>
INLINE vec weights_of(const bf16* panel) {
  const ivec lanes = load_as<ivec>(panel);
  return INDEX == 0 ? (vec)(lanes << 16) : (vec)(lanes & (int32_t)0xffff0000);
}
template <int INDEX>
INLINE vec weights_of(const int8_t* panel) {
  const ivec lanes = load_as<ivec>(panel);
  return __builtin_convertvector((lanes << (24 - 8 * INDEX)) >> 24, vec);
}

template <int INDEX, int ROWS, int PANELS, int STRIDE, class W>
INLINE void multiply_input(const W* panels, size_t panel_size, const float* x, vec (&sums)[ROWS][PANELS]) {
  vec w[PANELS];
#pragma GCC unroll 8
  for (int p = 0; p < PANELS; p++) w[p] = weights_of<INDEX>(panels + p * panel_size);
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
    const vec value = broadcast(x[r * STRIDE + INDEX]);
#pragma GCC unroll 8
    for (int p = 0; p < PANELS; p++) sums[r][p] += value * w[p];
  }
}

// ROWS rows of x times PANELS panels, all sums in registers; then write(row, sums of the panels).
template <int ROWS, int PANELS, int STRIDE, class W, class Write>
INLINE void multiply_block(const W* panels, size_t panel_size, int inputs, const float* x, Write write) {
  // A sum waits for its own previous addition: a small block needs a second set to keep the multipliers busy.
  constexpr int SETS = ROWS * PANELS <= 4 ? 2 : 1;
  vec sums[SETS][ROWS][PANELS] = {};
  for (int k = 0; k < inputs; k += INPUTS_AT_ONCE<W>) {
    multiply_input<0, ROWS, PANELS, STRIDE>(panels + k * WIDTH, panel_size, x + k, sums[0]);
    multiply_input<1, ROWS, PANELS, STRIDE>(panels + k * WIDTH, panel_size, x + k, sums[SETS - 1]);
    if constexpr (INPUTS_AT_ONCE<W> == 4) {
      multiply_input<2, ROWS, PANELS, STRIDE>(panels + k * WIDTH, panel_size, x + k, sums[0]);
      multiply_input<3, ROWS, PANELS, STRIDE>(panels + k * WIDTH, panel_size, x + k, sums[SETS - 1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 8
    for (int p = 0; SETS == 2 && p < PANELS; p++) sums[0][r][p] += sums[1][r][p];
    write(r, sums[0][r]);
  }
}

template <int PANELS, int STRIDE, int ROWS = BLOCK_ROWS, class W, class Write>
INLINE void multiply_rows(int rows, const W* panels, size_t panel_size, int inputs, const float* x, Write write) {
  if constexpr (ROWS > 1) {
    if (rows < ROWS) return multiply_rows<PANELS, STRIDE, ROWS - 1>(rows, panels, panel_size, inputs, x, write);
  }
  multiply_block<ROWS, PANELS, STRIDE>(panels, panel_size, inputs, x, write);
}

// Rows of x (STRIDE apart) times panels [share), PANELS at a time; then write(row, first panel, sums). `inputs` is
// even.
template <int PANELS, int STRIDE, class W, class Write>
INLINE void multiply(const W* panels, size_t panel_size, Share share, int inputs, const float* x, int rows,
                     Write write) {
  const int blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  for (int p = share.begin; p < share.end; p += PANELS)
    for (int block = 0; block < blocks; block++) {
      const int first = rows * block / blocks, last = rows * (block + 1) / blocks;
      multiply_rows<PANELS, STRIDE>(last - first, panels + p * panel_size, panel_size, inputs, x + first * STRIDE,
                                    [&](int r, const vec(&sums)[PANELS]) { write(first + r, p, sums); });
    }
}

using Sums = vec[BLOCK_PANELS];

// One thread's share of a layer's matrix; write(row, first output, sums).
template <int INPUTS, int OUTPUTS, int STRIDE, class Write>
INLINE void multiply(const Matrix& matrix, int thread, const float* x, int rows, Write write) {
  const Share blocks = share_of(padded(OUTPUTS) / (WIDTH * BLOCK_PANELS), thread);
  const Share panels = {blocks.begin * BLOCK_PANELS, blocks.end * BLOCK_PANELS};
  constexpr int inputs = whole_turns<Weight>(INPUTS);
  multiply<BLOCK_PANELS, STRIDE>(matrix.panels, size_t{inputs} * WIDTH, panels, inputs, x, rows,
                                 [&](int row, int panel, const Sums& sums) {
                                   if constexpr (QUANTISED) {
                                     Sums scaled;
                                     for (int i = 0; i < BLOCK_PANELS; i++)
                                       scaled[i] = sums[i] * load(matrix.scales + (panel + i) * WIDTH);
                                     write(row, panel * WIDTH, scaled);
                                   } else {
                                     write(row, panel * WIDTH, sums);
                                   }
                                 });
}

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void rms_norm(const float* x, const float* weight, float* y) {
  vec squares = {};
  for (int i = 0; i < padded(HIDDEN); i += WIDTH) squares += load(x + i) * load(x + i);
  const float scale = 1 / std::sqrt(sum(squares) / HIDDEN + RMS_EPS);
  for (int i = 0; i < padded(HIDDEN); i += WIDTH) store(y + i, load(x + i) * scale * load(weight + i));
}

// Rotary embedding in the half-split convention of Hugging Face.
inline void rotate(const float* x, const float* cos, const float* sin, float scale, float* y) {
  constexpr int HALF = HEAD_DIM / 2;
  for (int i = 0; i < HALF; i++) {
    y[i] = (x[i] * cos[i] - x[i + HALF] * sin[i]) * scale;
    y[i + HALF] = (x[i + HALF] * cos[i] + x[i] * sin[i]) * scale;
  }
}

// Scores of positions [0, length) to weights that still have to be multiplied by the result; zero up to `end`.
float softmax(float* scores, int length, int end) {
  end = round_up(end, WIDTH);
  std::fill(scores + length, scores + end, -INFINITY);
  vec highest = load(scores);
  for (int i = WIDTH; i < end; i += WIDTH) highest = max(highest, load(scores + i));
  const float top = max(highest);
  vec total = {};
  for (int i = 0; i < end; i += WIDTH) {
    const vec weight = exp(load(scores + i) - top);
    store(scores + i, weight);
    total += weight;
  }
  return 1 / sum(total);
}

// The lowest id among the largest logits.
int argmax(const float* logits) {
  constexpr int WHOLE = VOCAB / WIDTH * WIDTH;
  vec highest = broadcast(-INFINITY);
  for (int i = 0; i < WHOLE; i += WIDTH) highest = max(highest, load(logits + i));
  float top = max(highest);
  for (int i = WHOLE; i < VOCAB; i++) top = std::max(top, logits[i]);
  const int id = std::find(logits, logits + VOCAB, top) - logits;
  return id < VOCAB ? id : 0;  // only NaNs: nothing equals the top
}

// Whether a row may be run: all within the model, and after the row before it in the same slot.
bool fits(const Model& model, int row) {
  const auto in = [](int value, int end) { return 0 <= value && value < end; };
  const bool follows = row > 0 && model.slots[row] == model.slots[row - 1];
  return in(model.tokens[row], VOCAB) && in(model.positions[row], MAX_LEN) && in(model.slots[row], model.slot_count) &&
         !(follows && model.positions[row] <= model.positions[row - 1]);
}

constexpr int largest_divisor(int n, int limit) {
  while (n % limit != 0) limit--;
  return limit;
}

// One thread's part of a step over at most TILE_ROWS rows. Whatever several threads write is divided between two
// barriers.
class Tile {
  const Model& model;
  Scratch& shared;
  ThreadScratch& own;
  const int thread, first;
  int rows;

 public:
  Tile(const Model& m, int thread_, int first_, int rows_)
      : model(m), shared(*m.scratch), own(m.scratch->threads[thread_]), thread(thread_), first(first_), rows(rows_) {}

  // Returns the number of rows of logits, which start at `logits_row`.
  int run(int logits_row) {
    embed();
    barrier();
    for (int layer = 0; layer < LAYERS; layer++) {
      attention(model.layers[layer], layer);
      ffn(model.layers[layer]);
    }
    return logits(logits_row);
  }

 private:
  void embed() {
    const Share share = share_of(rows, thread);
    for (int r = share.begin; r < share.end; r++) {
      const Embedding* row = model.embedding + size_t(model.tokens[first + r]) * HIDDEN;
      for (int i = 0; i < HIDDEN; i++) shared.x[r][i] = to_float(row[i]);
    }
  }

  // Every thread normalises all rows for itself: cheaper than one more barrier.
  void normalise(const float* weight) {
    for (int r = 0; r < rows; r++) rms_norm(shared.x[r], weight, own.normed[r]);
  }

  void add_to_x(int row, int output, const Sums& sums) {
    float* x = shared.x[row] + output;
    for (int i = 0; i < BLOCK_PANELS; i++) store(x + i * WIDTH, load(x + i * WIDTH) + sums[i]);
  }

  void attention(const Layer& weights, int layer) {
    normalise(weights.attention_norm);
    multiply<HIDDEN, QKV, padded(HIDDEN)>(
        weights.qkv, thread, own.normed[0], rows,
        [&](int row, int output, const Sums& sums) { store(shared.qkv[row] + output, sums); });
    barrier();
    const int32_t* slots = model.slots + first;
    int item = 0;
    for (int begin = 0, end; begin < rows; begin = end) {
      for (end = begin + 1; end < rows && slots[end] == slots[begin];) end++;
      for (int head = 0; head < KV_HEADS; head++)
        if (item++ % THREADS == thread) attend(model.cache[slots[begin]][layer][head], head, begin, end);
    }
    barrier();
    if (layer == LAYERS - 1) keep_wanted();
    multiply<ATTENTION, HIDDEN, ATTENTION>(weights.out, thread, shared.attention[0], rows,
                                           [&](int row, int output, const Sums& sums) { add_to_x(row, output, sums); });
    barrier();
  }

  // Once the last layer has its keys and values, only rows whose logits are asked for matter.
  void keep_wanted() {
    int kept = 0;
    for (int r = 0; r < rows; r++) {
      if (!model.wanted[first + r]) continue;
      if (thread == 0 && kept < r) {
        std::memcpy(shared.x[kept], shared.x[r], sizeof shared.x[r]);
        std::memcpy(shared.attention[kept], shared.attention[r], sizeof shared.attention[r]);
      }
      kept++;
    }
    rows = kept;
    barrier();
  }

  int position(int row) const { return model.positions[first + row]; }

  // Attention of rows [begin, end), all of one slot, for the query heads that share one KV head.
  void attend(KvHead& kv, int head, int begin, int end) {
    for (int r = begin; r < end; r++) {
      write_kv(kv, head, r);
      write_queries(head, r, own.queries[(r - begin) * GROUP]);
    }
    const int queries = (end - begin) * GROUP;
    for (int q = 0; q < queries; q += BLOCK_ROWS) attend_block(kv, head, begin, q, std::min(BLOCK_ROWS, queries - q));
  }

  void write_kv(KvHead& kv, int head, int row) {
    const int at = position(row);
    float key[HEAD_DIM];
    rotate(shared.qkv[row] + (HEADS + head) * HEAD_DIM, model.cos[at], model.sin[at], 1, key);
    for (int d = 0; d < HEAD_DIM; d++) kv.keys[at / WIDTH][d][at % WIDTH] = key[d];
    const float* value = shared.qkv[row] + (HEADS + KV_HEADS + head) * HEAD_DIM;
    for (int d = 0; d < HEAD_DIM; d++) kv.values[d / WIDTH][at][d % WIDTH] = value[d];
  }

  void write_queries(int head, int row, float* queries) {
    const int at = position(row);
    const float scale = 1 / std::sqrt(float{HEAD_DIM});
    for (int g = 0; g < GROUP; g++)
      rotate(shared.qkv[row] + (head * GROUP + g) * HEAD_DIM, model.cos[at], model.sin[at], scale,
             queries + g * HEAD_DIM);
  }

  // Queries [q, q + count) of the rows from `begin` on; query q belongs to row begin + q / GROUP.
  void attend_block(const KvHead& kv, int head, int begin, int q, int count) {
    constexpr int KEY_PANELS = 2, VALUE_PANELS = largest_divisor(HEAD_PADDED / WIDTH, BLOCK_PANELS);
    const int length = position(begin + (q + count - 1) / GROUP) + 1;
    const Share key_panels = {0, round_up(length, KEY_PANELS * WIDTH) / WIDTH};
    multiply<KEY_PANELS, HEAD_DIM>(
        kv.keys[0][0], HEAD_DIM * WIDTH, key_panels, HEAD_DIM, own.queries[q], count,
        [&](int r, int panel, const vec(&sums)[KEY_PANELS]) { store(own.scores[r] + panel * WIDTH, sums); });
    float normaliser[BLOCK_ROWS];
    for (int r = 0; r < count; r++)
      normaliser[r] = softmax(own.scores[r], position(begin + (q + r) / GROUP) + 1, length);
    const Share value_panels = {0, HEAD_PADDED / WIDTH};
    multiply<VALUE_PANELS, SCORES>(kv.values[0][0], size_t{POSITIONS} * WIDTH, value_panels, whole_turns<float>(length),
                                   own.scores[0], count, [&](int r, int panel, const vec(&sums)[VALUE_PANELS]) {
                                     float* out = shared.attention[begin + (q + r) / GROUP] +
                                                  (head * GROUP + (q + r) % GROUP) * HEAD_PADDED;
                                     for (int i = 0; i < VALUE_PANELS; i++)
                                       store(out + (panel + i) * WIDTH, sums[i] * normaliser[r]);
                                   });
  }

  void ffn(const Layer& weights) {
    normalise(weights.ffn_norm);
    constexpr int STRIDE = padded(GATE_UP) / 2;
    multiply<HIDDEN, GATE_UP, padded(HIDDEN)>(
        weights.gate_up, thread, own.normed[0], rows, [&](int row, int output, const Sums& sums) {
          for (int i = 0; i < BLOCK_PANELS; i += 2) {
            const vec silu = sums[i] / (1 + exp(-sums[i]));
            store(shared.ffn[row] + output / 2 + i / 2 * WIDTH, silu * sums[i + 1]);
          }
        });
    barrier();
    multiply<FFN, HIDDEN, STRIDE>(weights.down, thread, shared.ffn[0], rows,
                                  [&](int row, int output, const Sums& sums) { add_to_x(row, output, sums); });
    barrier();
  }

  int logits(int logits_row) {
    normalise(model.final_norm);
    multiply<HIDDEN, VOCAB, padded(HIDDEN)>(
        model.head, thread, own.normed[0], rows,
        [&](int row, int output, const Sums& sums) { store(model.logits[logits_row + row] + output, sums); });
    barrier();
    const Share share = share_of(rows, thread);
    for (int r = share.begin; r < share.end; r++) model.best[logits_row + r] = argmax(model.logits[logits_row + r]);
    return rows;
  }
};

}  // namespace

extern "C" {

// What the caller needs to know; mirrored by `_Geometry` in kernel.py.
struct Geometry {
  int32_t width, panels, padded_vocab;
  int64_t slot_bytes, scratch_bytes;
};

Geometry geometry() { return {WIDTH, BLOCK_PANELS, padded(VOCAB), sizeof(Slot), sizeof(Scratch)}; }

// Runs `rows` rows and returns -1, or the first row that cannot be run. Rows of one slot stand together, in
// the order of their positions, and whatever is before them is cached.
int step(const Model* model, int rows) {
  for (int r = 0; r < rows; r++)
    if (!fits(*model, r)) return r;
  together([&](int thread) {
    for (int first = 0, logits_row = 0; first < rows; first += TILE_ROWS)
      logits_row += Tile(*model, thread, first, std::min(TILE_ROWS, rows - first)).run(logits_row);
  });
  return -1;
}

// The first `count` positions of one slot become those of another; whole key panels are copied, the surplus is never
// read.
void copy_prefix(const Model* model, int from, int to, int count) {
  const int key_panels = (count + WIDTH - 1) / WIDTH;
  for (int layer = 0; layer < LAYERS; layer++)
    for (int head = 0; head < KV_HEADS; head++) {
      const KvHead& source = model->cache[from][layer][head];
      KvHead& target = model->cache[to][layer][head];
      std::memcpy(target.keys, source.keys, sizeof source.keys[0] * key_panels);
      for (int panel = 0; panel < HEAD_PADDED / WIDTH; panel++)
        std::memcpy(target.values[panel], source.values[panel], sizeof source.values[0][0] * count);
    }
}

}  // extern "C"
