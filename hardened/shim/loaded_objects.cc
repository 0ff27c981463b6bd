#include "hardened/shim/loaded_objects.h"

#include <link.h>
#include <string.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hardened/replaced_operators.h"

namespace hardened::shim {
namespace {

// The dynamic symbols of one object.
class SymbolTable {
 public:
  explicit SymbolTable(const dl_phdr_info& object) : base_(object.dlpi_addr) {
    for (int i = 0; i < object.dlpi_phnum; ++i) {
      const ElfW(Phdr)& segment = object.dlpi_phdr[i];
      if (segment.p_type != PT_DYNAMIC) continue;
      const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(base_ + segment.p_vaddr);
      for (; entry->d_tag != DT_NULL; ++entry) {
        if (entry->d_tag == DT_SYMTAB) symbols_ = At<ElfW(Sym)>(*entry);
        if (entry->d_tag == DT_STRTAB) names_ = At<char>(*entry);
        if (entry->d_tag == DT_GNU_HASH) hash_ = At<uint32_t>(*entry);
      }
    }
  }

  // Null when it is not defined here.
  const void* Find(const char* name) const {
    if (symbols_ == nullptr || names_ == nullptr || hash_ == nullptr) return nullptr;
    uint32_t hash = 5381;
    for (const char* c = name; *c != '\0'; ++c) hash = hash * 33 + static_cast<unsigned char>(*c);
    // The header, a filter in words of the machine, the buckets, and a hash for each symbol.
    const uint32_t bucket_count = hash_[0];
    const uint32_t first_hashed = hash_[1];
    const uint32_t* buckets = hash_ + 4 + hash_[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t* hashes = buckets + bucket_count;
    if (bucket_count == 0) return nullptr;
    uint32_t i = buckets[hash % bucket_count];
    if (i < first_hashed) return nullptr;
    for (;; ++i) {
      const uint32_t found = hashes[i - first_hashed];
      // The lowest bit marks the last of a bucket.
      if ((found | 1) == (hash | 1) && strcmp(names_ + symbols_[i].st_name, name) == 0) {
        return symbols_[i].st_shndx == SHN_UNDEF
                   ? nullptr
                   : reinterpret_cast<const void*>(base_ + symbols_[i].st_value);
      }
      if ((found & 1) != 0) return nullptr;
    }
  }

 private:
  // glibc adds the base to what it may write to; the kernel's object keeps what it was linked with.
  template <typename T>
  const T* At(const ElfW(Dyn) & entry) const {
    const uintptr_t value = entry.d_un.d_ptr;
    return reinterpret_cast<const T*>(value < base_ ? value + base_ : value);
  }

  uintptr_t base_;
  const ElfW(Sym) * symbols_ = nullptr;
  const char* names_ = nullptr;
  const uint32_t* hash_ = nullptr;
};

bool IsThisObject(const dl_phdr_info& object) {
  const auto here = reinterpret_cast<uintptr_t>(&IsThisObject);
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object.dlpi_phdr[i];
    if (segment.p_type == PT_LOAD &&
        here - (object.dlpi_addr + segment.p_vaddr) < segment.p_memsz) {
      return true;
    }
  }
  return false;
}

bool IsRuntime(const dl_phdr_info& object) {
  std::string_view name = object.dlpi_name;
  const size_t slash = name.rfind('/');
  if (slash != std::string_view::npos) name.remove_prefix(slash + 1);
  return name.starts_with("libstdc++.so") || name.starts_with("libc++");
}

// What was found, and when: a process that mixes them may do so often.
constinit std::atomic<bool> found{false};
constinit std::atomic<unsigned long long> objects_loaded{0};

int Look(dl_phdr_info* object, size_t /*size*/, void* loaded) {
  if (objects_loaded.load(std::memory_order_relaxed) == object->dlpi_adds) return 1;
  *static_cast<unsigned long long*>(loaded) = object->dlpi_adds;
  if (IsThisObject(*object) || IsRuntime(*object)) return 0;
  const SymbolTable symbols(*object);
  for (const char* form : {"_Znwm", "_Znam", "_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZnwmSt11align_val_t",
                           "_ZdlPvSt11align_val_t"}) {
    if (symbols.Find(form) == nullptr) continue;
    found.store(true, std::memory_order_relaxed);
    return 1;
  }
  return 0;
}

struct Search {
  const char* name;
  const void* found = nullptr;
};

int SearchObject(dl_phdr_info* object, size_t /*size*/, void* data) {
  Search& search = *static_cast<Search*>(data);
  search.found = SymbolTable(*object).Find(search.name);
  return search.found != nullptr ? 1 : 0;
}

}  // namespace

bool OthersHaveOperators() {
  unsigned long long loaded = 0;
  if (!found.load(std::memory_order_relaxed) && dl_iterate_phdr(&Look, &loaded) == 0) {
    objects_loaded.store(loaded, std::memory_order_relaxed);
  }
  return found.load(std::memory_order_relaxed);
}

const void* FindDefinition(const char* name) {
  Search search{name};
  dl_iterate_phdr(&SearchObject, &search);
  return search.found;
}

}  // namespace hardened::shim

namespace hardened {

// The socket of hardened/replaced_operators.h.
bool MallocAndNewMayMix() {
  return plain_operators.load(std::memory_order_relaxed) == Operators::kReplaced ||
         shim::OthersHaveOperators();
}

}  // namespace hardened
