// Runs the kernel without Python, for instruction sets and sanitizers that cannot be loaded into the interpreter.
//
// standalone FILE: packed weights, rotary tables, tokens and expected logits as blobs of (int64 size, bytes), in the
// order in which test_standalone.py writes them. Prefills one slot, copies a prefix to another, decodes both as one
// batch. Prints the largest error.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernel.cpp"

namespace {

constexpr int SLOTS = 2;

class Blobs {
  FILE* file;

 public:
  explicit Blobs(const char* path) : file(std::fopen(path, "rb")) {}

  template <class T>
  const T* next(int64_t* count = nullptr) {
    int64_t size = 0;
    if (file == nullptr || std::fread(&size, sizeof size, 1, file) != 1) std::exit(2);
    void* data = std::malloc(size > 0 ? size : 1);
    if (std::fread(data, 1, size, file) != size_t(size)) std::exit(2);
    if (count != nullptr) *count = size / int64_t{sizeof(T)};
    return size > 0 ? static_cast<const T*>(data) : nullptr;
  }

  Matrix matrix() {
    const Weight* panels = next<Weight>();
    return {panels, next<float>()};
  }
};

template <class T>
T* zeros(size_t count) {
  return static_cast<T*>(std::calloc(count, sizeof(T)));
}

struct Rows {
  std::vector<int32_t> tokens, positions, slots, wanted;

  void add(int token, int position, int slot) {
    tokens.push_back(token);
    positions.push_back(position);
    slots.push_back(slot);
    wanted.push_back(1);
  }
};

float largest_error(Model& model, const Rows& rows, const float* expected) {
  model.tokens = rows.tokens.data();
  model.positions = rows.positions.data();
  model.slots = rows.slots.data();
  model.wanted = rows.wanted.data();
  if (step(&model, int(rows.tokens.size())) != -1) std::exit(3);
  float largest = 0;
  for (size_t r = 0; r < rows.tokens.size(); r++) {
    const float* right = expected + size_t(rows.positions[r]) * VOCAB;
    for (int i = 0; i < VOCAB; i++) largest = std::max(largest, std::abs(model.logits[r][i] - right[i]));
    if (model.best[r] != std::max_element(model.logits[r], model.logits[r] + VOCAB) - model.logits[r]) std::exit(4);
  }
  return largest;
}

}  // namespace

int main(int, char** argv) {
  Blobs blobs(argv[1]);
  Model model = {};
  model.embedding = blobs.next<Embedding>();
  model.final_norm = blobs.next<float>();
  model.head = blobs.matrix();
  model.cos = reinterpret_cast<const float(*)[HEAD_DIM / 2]>(blobs.next<float>());
  model.sin = reinterpret_cast<const float(*)[HEAD_DIM / 2]>(blobs.next<float>());
  std::vector<Layer> layers(LAYERS);
  for (Layer& layer : layers) {
    layer.attention_norm = blobs.next<float>();
    layer.ffn_norm = blobs.next<float>();
    layer.qkv = blobs.matrix();
    layer.out = blobs.matrix();
    layer.gate_up = blobs.matrix();
    layer.down = blobs.matrix();
  }
  model.layers = layers.data();
  int64_t length = 0;
  const int32_t* tokens = blobs.next<int32_t>(&length);
  const float* expected = blobs.next<float>();
  model.cache = zeros<Slot>(SLOTS);
  model.scratch = zeros<Scratch>(1);
  model.logits = reinterpret_cast<float(*)[padded(VOCAB)]>(zeros<float>(size_t(length) * padded(VOCAB)));
  model.best = zeros<int32_t>(length);
  model.slot_count = SLOTS;

  const int prefilled = int(length) - 4, copied = prefilled / 2;
  Rows prompt;
  for (int at = 0; at < prefilled; at++) prompt.add(tokens[at], at, 0);
  float error = largest_error(model, prompt, expected);
  copy_prefix(&model, 0, 1, copied);
  for (int i = 0; i < 4; i++) {
    Rows batch;
    batch.add(tokens[prefilled + i], prefilled + i, 0);
    batch.add(tokens[copied + i], copied + i, 1);
    error = std::max(error, largest_error(model, batch, expected));
  }
  std::printf("%g\n", error);
}
