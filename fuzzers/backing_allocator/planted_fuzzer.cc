// A small store of named texts with one bug planted in it, PLANTED_BUG; kNone: with none. Shows that
// the backing allocator finds each kind (planted/, tools/fuzz planted).
//
// Input: "kv", then commands of three bytes: what, which text ('0' to '3'), a number.
//
// -O1 and no builtins: every crime is committed as written.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

enum class Bug {
  kNone,
  kDoubleFree,
  kOverflow,
  kUseAfterFreeWrite,
  kUseAfterFreeRead,
  kInvalidFree,
  kMismatch,
  kLeak,
  kUncheckedFailure,
};
constexpr Bug kBug = Bug::PLANTED_BUG;

struct Text {
  char* bytes = nullptr;
  size_t size = 0;
  bool by_new = false;
};

volatile char g_sink;

class Store {
 public:
  ~Store() {
    for (Text& text : texts_) Remove(text);
  }

  void Run(char what, Text& text, uint8_t number) {
    switch (what) {
      case 'c':  // create
        if (!(kBug == Bug::kLeak && number == '!')) Remove(text);
        return Create(text, number);
      case 'n':  // create by new
        Remove(text);
        text = {new (std::nothrow) char[number], number, true};
        if (text.bytes == nullptr) text = {};
        return;
      case 'w':  // write at the end
        if (text.bytes == nullptr || text.size == 0) return;
        text.bytes[text.size - (kBug == Bug::kOverflow && number == '!' ? 0 : 1)] = '.';
        return;
      case 'g':  // get the first byte
        if (text.bytes != nullptr && text.size > 0) g_sink = text.bytes[0];
        return;
      case 'r':  // remove
        if (kBug == Bug::kInvalidFree && number == '!' && text.size > 16 && !text.by_new) {
          std::free(text.bytes + 16);
        }
        if (Dangles(number)) {
          if (text.by_new) return;
          std::free(text.bytes);
          // Forgotten: text.bytes = nullptr.
          dangling_ = &text;
          return;
        }
        return Remove(text);
      case 'x':  // exchange with the next
        return Exchange(text, texts_[(&text - texts_ + 1) % 4]);
    }
  }
  Text& At(char name) { return texts_[name & 3]; }

 private:
  static bool Dangles(uint8_t number) {
    return number == '!' && (kBug == Bug::kDoubleFree || kBug == Bug::kUseAfterFreeWrite ||
                             kBug == Bug::kUseAfterFreeRead);
  }

  static void Create(Text& text, uint8_t number) {
    char* bytes = static_cast<char*>(std::malloc(number));
    if (bytes == nullptr && kBug != Bug::kUncheckedFailure) {
      text = {};
      return;
    }
    std::memset(bytes, ' ', number);
    text = {bytes, number, false};
  }

  void Remove(Text& text) {
    // Without this every dangling text would be a double free in the end.
    const bool dangles = &text == dangling_ && kBug != Bug::kDoubleFree;
    if (dangles) dangling_ = nullptr;
    if (!dangles && text.by_new && !(kBug == Bug::kMismatch && text.size == 'm')) {
      delete[] text.bytes;
    } else if (!dangles) {
      std::free(text.bytes);
    }
    text = {};
  }

  void Exchange(Text& a, Text& b) {
    if (dangling_ != nullptr) return;
    const Text kept = a;
    a = b;
    b = kept;
  }

  Text texts_[4];
  const Text* dangling_ = nullptr;
};

// Read and write after free only: the other of the two is not made.
bool Allowed(char what) {
  if (kBug == Bug::kUseAfterFreeWrite) return what != 'g';
  if (kBug == Bug::kUseAfterFreeRead) return what != 'w';
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || data[0] != 'k' || data[1] != 'v') return 0;
  Store store;
  for (size_t at = 2; at + 3 <= size; at += 3) {
    const char what = static_cast<char>(data[at]);
    const char name = static_cast<char>(data[at + 1]);
    if (name < '0' || name > '3' || !Allowed(what)) break;
    store.Run(what, store.At(name), data[at + 2]);
  }
  return 0;
}
