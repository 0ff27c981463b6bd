// plugin: a library with operators of its own and a count of their calls, for programs in C and in
// C++ that open it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

namespace {

int taken;
int given;
int foreign;

struct alignas(16) Header {
  uint64_t magic;
};
constexpr uint64_t kMagic = 0x5aa5c33c;

struct Plain {
  int a[10];
  ~Plain() {}
};

}  // namespace

void* operator new(size_t n) {
  ++taken;
  auto* header = static_cast<Header*>(malloc(n + sizeof(Header)));
  if (header == nullptr) throw std::bad_alloc();
  header->magic = kMagic;
  return header + 1;
}
void operator delete(void* p) noexcept {
  ++given;
  if (p == nullptr) return;
  Header* header = static_cast<Header*>(p) - 1;
  if (header->magic != kMagic) {
    ++foreign;
    return;
  }
  header->magic = 0;
  free(header);
}

// Returns: 0 when all went well; says in *balance how many blocks its operators gave and did not
// get back.
extern "C" int plug(int* calls, int* balance) {
  for (int i = 0; i < 100; ++i) {
    Plain* volatile one = new Plain;
    delete one;
    char* volatile many = new char[100];
    delete[] many;
    Plain* volatile objects = new Plain[3];
    delete[] objects;
    Plain* volatile nothrow = new (std::nothrow) Plain;
    ::operator delete(nothrow);
  }
  {
    std::vector<int> v(100000);
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<int>(i * 7919 % 100003);
    std::stable_sort(v.begin(), v.end());
  }
  bool thrown = false;
  try {
    Plain* volatile huge = static_cast<Plain*>(::operator new (size_t{1} << 62));
    ::operator delete(huge);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  *calls = taken;
  *balance = taken - given;
  return foreign != 0 || !thrown;
}
