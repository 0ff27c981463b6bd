// forms: calls every form of operator new and delete and tells which functions of its own were
// called. Built with REPLACED, the functions that it defines itself; what it prints has to be the
// same on every malloc.
#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

// Bits of REPLACED.
#define NEW 0x1
#define DELETE 0x2
#define NEW_ARRAY 0x4
#define DELETE_ARRAY 0x8
#define NEW_NOTHROW 0x10
#define DELETE_SIZED 0x20
#define DELETE_ARRAY_SIZED 0x40
#define ALIGNED_NEW 0x80
#define ALIGNED_DELETE 0x100
#define ALIGNED_NEW_ARRAY 0x200
#define ALIGNED_DELETE_ARRAY 0x400
#define ALIGNED_DELETE_SIZED 0x800
#define ALIGNED_NEW_NOTHROW 0x1000
#define DELETE_NOTHROW 0x2000
#define MALLOC 0x4000
#define HEADER 0x8000  // NEW and DELETE keep a header in front of each block

namespace {

char trace[1 << 16];
size_t traced;
bool tracing;
bool failing;  // the forms of this program find no memory

void Say(const char* text) {
  const size_t length = strlen(text);
  if (traced + length > sizeof(trace)) _exit(9);
  memcpy(trace + traced, text, length);
  traced += length;
}
void Note(const char* name) {
  if (!tracing) return;
  Say(" ");
  Say(name);
}

struct alignas(16) Header {
  uint64_t magic;
};
constexpr uint64_t kMagic = 0x5aa5c33c;
constexpr size_t kHeader = ((REPLACED)&HEADER) != 0 ? sizeof(Header) : 0;

[[maybe_unused]] void* Take(const char* name, size_t bytes) {
  Note(name);
  void* block = failing ? nullptr : malloc(bytes + kHeader + 1);
  if (block == nullptr) throw std::bad_alloc();
  if (kHeader == 0) return block;
  static_cast<Header*>(block)->magic = kMagic;
  return static_cast<Header*>(block) + 1;
}
[[maybe_unused]] void Give(const char* name, void* block) {
  Note(name);
  if (block == nullptr) return;
  if (kHeader == 0) return free(block);
  Header* header = static_cast<Header*>(block) - 1;
  if (header->magic != kMagic) {
    Say(" FOREIGN\n");
    return;
  }
  header->magic = 0;
  free(header);
}
[[maybe_unused]] void* TakeAligned(const char* name, size_t bytes, std::align_val_t alignment) {
  Note(name);
  const size_t align = static_cast<size_t>(alignment);
  void* block = failing ? nullptr : aligned_alloc(align, (bytes + align - 1) & ~(align - 1));
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

#if (REPLACED) & NEW
void* operator new(size_t n) { return Take("new", n); }
#endif
#if (REPLACED) & DELETE
void operator delete(void* p) noexcept { Give("delete", p); }
#endif
#if (REPLACED) & NEW_ARRAY
void* operator new[](size_t n) { return Take("new[]", n); }
#endif
#if (REPLACED) & DELETE_ARRAY
void operator delete[](void* p) noexcept { Give("delete[]", p); }
#endif
#if (REPLACED) & NEW_NOTHROW
void* operator new(size_t n, const std::nothrow_t&) noexcept {
  Note("new(nothrow)");
  return failing ? nullptr : malloc(n + 1);
}
#endif
#if (REPLACED) & DELETE_SIZED
void operator delete(void* p, size_t) noexcept { Give("delete(size)", p); }
#endif
#if (REPLACED) & DELETE_ARRAY_SIZED
void operator delete[](void* p, size_t) noexcept { Give("delete[](size)", p); }
#endif
#if (REPLACED) & DELETE_NOTHROW
void operator delete(void* p, const std::nothrow_t&) noexcept { Give("delete(nothrow)", p); }
#endif
#if (REPLACED) & ALIGNED_NEW
void* operator new(size_t n, std::align_val_t a) { return TakeAligned("new(align)", n, a); }
#endif
#if (REPLACED) & ALIGNED_DELETE
void operator delete(void* p, std::align_val_t) noexcept {
  Note("delete(align)");
  free(p);
}
#endif
#if (REPLACED) & ALIGNED_NEW_ARRAY
void* operator new[](size_t n, std::align_val_t a) { return TakeAligned("new[](align)", n, a); }
#endif
#if (REPLACED) & ALIGNED_DELETE_ARRAY
void operator delete[](void* p, std::align_val_t) noexcept {
  Note("delete[](align)");
  free(p);
}
#endif
#if (REPLACED) & ALIGNED_DELETE_SIZED
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  Note("delete(size,align)");
  free(p);
}
#endif
#if (REPLACED) & ALIGNED_NEW_NOTHROW
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  Note("new(align,nothrow)");
  const size_t align = static_cast<size_t>(a);
  return failing ? nullptr : aligned_alloc(align, (n + align - 1) & ~(align - 1));
}
#endif

#if (REPLACED) & MALLOC
// Never gives anything back.
namespace {
char pool[32 << 20];
size_t used;
void* FromPool(size_t alignment, size_t bytes) {
  const size_t start = (used + 16 + alignment - 1) & ~(alignment - 1);
  if (bytes > sizeof(pool) || start + bytes > sizeof(pool)) {
    errno = ENOMEM;
    return nullptr;
  }
  used = start + bytes;
  memcpy(pool + start - sizeof(size_t), &bytes, sizeof(size_t));
  return pool + start;
}
}  // namespace
extern "C" {
void* malloc(size_t n) {
  Note("malloc");
  return FromPool(16, n);
}
void free(void* p) {
  Note("free");
  if (p != nullptr && static_cast<size_t>(static_cast<char*>(p) - pool) >= sizeof(pool)) {
    Say(" FOREIGN\n");
  }
}
void* calloc(size_t n, size_t m) { return FromPool(16, n * m); }
void* realloc(void* p, size_t n) {
  void* result = FromPool(16, n);
  size_t before = 0;
  if (p != nullptr) memcpy(&before, static_cast<char*>(p) - sizeof(size_t), sizeof(size_t));
  if (result != nullptr) memcpy(result, p, before < n ? before : n);
  return result;
}
void* aligned_alloc(size_t a, size_t n) {
  Note("aligned_alloc");
  return FromPool(a, n);
}
}
#endif

namespace {

constexpr auto kAlign = std::align_val_t{64};
constexpr size_t kTooMuch = size_t{1} << 62;

template <typename Action>
void Step(const char* name, Action action) {
  Say(name);
  Say(":");
  tracing = true;
  action();
  tracing = false;
  Say("\n");
}

void* Filled(void* block, size_t bytes) {
  if (block == nullptr) {
    Say(" null");
  } else {
    memset(block, 0x77, bytes);
  }
  return block;
}

template <typename Action>
void Throws(Action action) {
  try {
    Say(action() == nullptr ? " null" : " a block");
  } catch (const std::bad_alloc&) {
    Say(" bad_alloc");
  }
}

int handler_calls;
void Handler() {
  Note("handler");
  if (++handler_calls % 3 == 0) std::set_new_handler(nullptr);
}
void ThrowingHandler() {
  Note("handler");
  throw std::bad_alloc();
}

struct Plain {
  int a[10];
  ~Plain() {}
};
struct alignas(64) Wide {
  char a[64];
  ~Wide() {}
};

void Forms() {
  for (const size_t n :
       {size_t{0}, size_t{1}, size_t{24}, size_t{40}, size_t{1000}, size_t{300000}}) {
    Step("new delete", [n] { ::operator delete(Filled(::operator new(n), n)); });
    Step("new sized", [n] { ::operator delete(Filled(::operator new(n), n), n); });
    Step("new nothrow", [n] { ::operator delete(Filled(::operator new(n), n), std::nothrow); });
    Step("nothrow", [n] { ::operator delete(Filled(::operator new(n, std::nothrow), n)); });
    Step("array", [n] { ::operator delete[](Filled(::operator new[](n), n)); });
    Step("array sized", [n] { ::operator delete[](Filled(::operator new[](n), n), n); });
    Step("array nothrow",
         [n] { ::operator delete[](Filled(::operator new[](n, std::nothrow), n), std::nothrow); });
    Step("aligned", [n] { ::operator delete(Filled(::operator new(n, kAlign), n), kAlign); });
    Step("aligned sized",
         [n] { ::operator delete(Filled(::operator new(n, kAlign), n), n, kAlign); });
    Step("aligned nothrow", [n] {
      ::operator delete(Filled(::operator new(n, kAlign, std::nothrow), n), kAlign, std::nothrow);
    });
    Step("aligned array",
         [n] { ::operator delete[](Filled(::operator new[](n, kAlign), n), kAlign); });
    Step("aligned array sized",
         [n] { ::operator delete[](Filled(::operator new[](n, kAlign), n), n, kAlign); });
    Step("aligned array nothrow", [n] {
      ::operator delete[](Filled(::operator new[](n, kAlign, std::nothrow), n), kAlign,
                          std::nothrow);
    });
  }
  Step("null", [] {
    ::operator delete(nullptr);
    ::operator delete (nullptr, size_t{8});
    ::operator delete[](nullptr);
    ::operator delete[](nullptr, size_t{8});
    ::operator delete(nullptr, kAlign);
    ::operator delete[](nullptr, size_t{64}, kAlign);
  });
}

void Failures() {
  for (const std::new_handler handler : {std::new_handler{nullptr}, &Handler, &ThrowingHandler}) {
    std::set_new_handler(handler);
    Step("no memory", [] { Throws([] { return ::operator new(kTooMuch); }); });
    std::set_new_handler(handler);
    Step("no memory, array", [] { Throws([] { return ::operator new[](kTooMuch); }); });
    std::set_new_handler(handler);
    Step("no memory, aligned", [] { Throws([] { return ::operator new(kTooMuch, kAlign); }); });
    std::set_new_handler(handler);
    Step("no memory, nothrow",
         [] { Throws([] { return ::operator new(kTooMuch, std::nothrow); }); });
    std::set_new_handler(handler);
    Step("no memory, array nothrow",
         [] { Throws([] { return ::operator new[](kTooMuch, std::nothrow); }); });
    std::set_new_handler(handler);
    Step("no memory, aligned array nothrow",
         [] { Throws([] { return ::operator new[](kTooMuch, kAlign, std::nothrow); }); });
  }
  std::set_new_handler(nullptr);
  // Forms of this program that throw whatever is asked for.
  failing = true;
  Step("failing", [] { Throws([] { return ::operator new(8, std::nothrow); }); });
  Step("failing array", [] { Throws([] { return ::operator new[](8, std::nothrow); }); });
  Step("failing aligned", [] { Throws([] { return ::operator new[](8, kAlign, std::nothrow); }); });
  failing = false;
}

void Library() {
  Step("expressions", [] {
    delete new Plain;
    delete[] new Plain[3];
    delete new Wide;
    delete[] new Wide[3];
    delete new (std::nothrow) Plain;
  });
  Step("stable_sort", [] {
    std::vector<int> v(5000);
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<int>(i * 7919 % 5003);
    std::stable_sort(v.begin(), v.end());
  });
  Step("vector", [] {
    std::vector<int> v;
    for (int i = 0; i < 1000; ++i) v.push_back(i);
  });
  Step("shared_ptr", [] { std::make_shared<Plain>(); });
  Step("string", [] { std::string(100, 'x').append(1000, 'y').c_str(); });
  // In the library itself.
  Step("terminate", [] { delete[] new std::unique_ptr<std::string>[ 10 ]; });
}

}  // namespace

int main() {
  alarm(60);
  Forms();
  Failures();
  Library();
  // The first call of all may have been any.
  return write(1, trace, traced) == static_cast<ssize_t>(traced) ? 0 : 1;
}
