#include "hardened/prim/vdso.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace hardened::prim {
namespace {

#if defined(__aarch64__)
constexpr char kClockName[] = "__kernel_clock_gettime";
#else
constexpr char kClockName[] = "__vdso_clock_gettime";
#endif

// How many symbols there are. DT_HASH says so; of DT_GNU_HASH the longest chain tells.
uint32_t CountSymbols(const uint32_t* hash, const uint32_t* gnu_hash) {
  if (hash != nullptr) return hash[1];
  if (gnu_hash == nullptr) return 0;
  const uint32_t bucket_count = gnu_hash[0];
  const uint32_t first = gnu_hash[1];
  const uint32_t bloom_words = gnu_hash[2];
  const uint32_t* buckets = gnu_hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
  const uint32_t* chains = buckets + bucket_count;
  uint32_t last = 0;
  for (uint32_t i = 0; i < bucket_count; ++i) {
    if (buckets[i] > last) last = buckets[i];
  }
  if (last < first) return 0;
  while ((chains[last - first] & 1) == 0) ++last;
  return last + 1;
}

// A pointer to code in writable memory is what an attacker looks for: it is kept as libc keeps
// those of longjmp() and atexit(), xored with the secret that the thread's control block has.
uintptr_t Guard(uintptr_t pointer) {
#if defined(__x86_64__)
  uintptr_t guard;
  asm("mov %%fs:0x30, %0" : "=r"(guard));
  return pointer ^ guard;
#else
  return pointer;
#endif
}

constinit std::atomic<uintptr_t> g_guarded_clock{0};
enum class Search : uint8_t { kNotDone, kFound, kAbsent };
constinit std::atomic<Search> g_search{Search::kNotDone};

}  // namespace

void* FindInImage(const void* image, const char* name) {
  const char* const base = static_cast<const char*>(image);
  const auto* const header = static_cast<const ElfW(Ehdr)*>(image);
  if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return nullptr;
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(base + header->e_phoff);
  const ElfW(Dyn)* dynamic = nullptr;
  // From the addresses in the image to those in memory.
  ElfW(Addr) bias = reinterpret_cast<ElfW(Addr)>(base);
  bool loaded = false;
  for (int i = 0; i < header->e_phnum; ++i) {
    const ElfW(Phdr)& segment = segments[i];
    if (segment.p_type == PT_LOAD && !loaded) {
      bias += segment.p_offset - segment.p_vaddr;
      loaded = true;
    } else if (segment.p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const ElfW(Dyn)*>(base + segment.p_offset);
    }
  }
  if (!loaded || dynamic == nullptr) return nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  const uint32_t* hash = nullptr;
  const uint32_t* gnu_hash = nullptr;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const ElfW(Addr) address = bias + dynamic->d_un.d_ptr;
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        symbols = reinterpret_cast<const ElfW(Sym)*>(address);
        break;
      case DT_STRTAB:
        names = reinterpret_cast<const char*>(address);
        break;
      case DT_HASH:
        hash = reinterpret_cast<const uint32_t*>(address);
        break;
      case DT_GNU_HASH:
        gnu_hash = reinterpret_cast<const uint32_t*>(address);
        break;
    }
  }
  if (symbols == nullptr || names == nullptr) return nullptr;
  const uint32_t count = CountSymbols(hash, gnu_hash);
  for (uint32_t i = 0; i < count; ++i) {
    const ElfW(Sym)& symbol = symbols[i];
    if (symbol.st_shndx == SHN_UNDEF || (symbol.st_info & 0xf) != STT_FUNC) continue;
    if (strcmp(names + symbol.st_name, name) == 0) {
      return reinterpret_cast<void*>(bias + symbol.st_value);
    }
  }
  return nullptr;
}

ClockFunction* VdsoClock() {
  // Pairs with the release store below. Racing threads find the same.
  Search search = g_search.load(std::memory_order_acquire);
  if (search == Search::kNotDone) [[unlikely]] {
    const auto* const image = reinterpret_cast<const void*>(getauxval(AT_SYSINFO_EHDR));
    void* const found = image != nullptr ? FindInImage(image, kClockName) : nullptr;
    g_guarded_clock.store(Guard(reinterpret_cast<uintptr_t>(found)), std::memory_order_relaxed);
    search = found != nullptr ? Search::kFound : Search::kAbsent;
    g_search.store(search, std::memory_order_release);
  }
  if (search == Search::kAbsent) return nullptr;
  return reinterpret_cast<ClockFunction*>(Guard(g_guarded_clock.load(std::memory_order_relaxed)));
}

}  // namespace hardened::prim
