// A small store of named texts with one bug planted in it, PLANTED_BUG; kNone: with none. Shows
// that the backing allocator finds each kind (planted/, tools/fuzz planted).
//
// Input: "kv", then commands of two bytes: what, and a number, whose last two bits say with which
// text.
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
  bool freed = false;  // and forgotten
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
        text = {new (std::nothrow) char[number], number, true, false};
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
        if (kBug == Bug::kInvalidFree && number == '!' && text.bytes != nullptr) {
          std::free(text.bytes + 1);
        }
        if (!Forgets(number) || text.by_new) return Remove(text);
        if (!text.freed || kBug == Bug::kDoubleFree) std::free(text.bytes);
        text.freed = true;  // instead of text = {}
        return;
      case 'x':  // exchange with the next
        return Exchange(text, texts_[(&text - texts_ + 1) % 4]);
    }
  }
  Text& At(uint8_t number) { return texts_[number % 4]; }

 private:
  static bool Forgets(uint8_t number) {
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
    text = {bytes, number, false, false};
  }

  void Remove(Text& text) {
    if (text.by_new && !(kBug == Bug::kMismatch && text.size == 'm')) {
      delete[] text.bytes;
    } else if (!text.freed || kBug == Bug::kDoubleFree) {
      std::free(text.bytes);
    }
    text = {};
  }

  static void Exchange(Text& a, Text& b) {
    const Text kept = a;
    a = b;
    b = kept;
  }

  Text texts_[4];
};

// Of a text that was freed and forgotten, each bug has one use.
bool Allowed(char what) {
  if (what == 'g') return kBug != Bug::kUseAfterFreeWrite && kBug != Bug::kDoubleFree;
  if (what == 'w') return kBug != Bug::kUseAfterFreeRead && kBug != Bug::kDoubleFree;
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || data[0] != 'k' || data[1] != 'v') return 0;
  Store store;
  for (size_t at = 2; at + 2 <= size; at += 2) {
    const char what = static_cast<char>(data[at]);
    const uint8_t number = data[at + 1];
    if (!Allowed(what)) break;
    store.Run(what, store.At(number), number);
  }
  return 0;
}
