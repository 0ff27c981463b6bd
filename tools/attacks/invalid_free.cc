// A pointer is freed that malloc never returned. SIZE: of the block that it points into.
#include "tools/attacks/attack.h"

alignas(4096) char global_bytes[4096 + kSize + 4096];

char* MapPages() {
  return static_cast<char*>(mmap(nullptr, 2 * 4096 + kSize, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

// House of spirit: writes the header that glibc has before a chunk, and the next chunk's. Large
// chunks are forged as mapped ones, at the page `bytes` starts.
// Returns: the pointer to free.
char* Forge(char* bytes) {
  const size_t chunk = (kSize + 16 + 15) & ~size_t{15};
  const bool mapped = kSize > 1024;
  Words(bytes)[0] = 0;
  Words(bytes)[1] = mapped ? ((kSize + 4095) & ~size_t{4095}) | 2 : chunk | 1;
  if (!mapped) Words(bytes + chunk)[1] = 0x1000;
  return bytes + 16;
}

Verdict Free(char* pointer) {
  free(pointer);
  return kUndetected;
}

Verdict Interior() { return Free(Get() + 16); }
Verdict Middle() { return Free(Get() + (kSize / 2 & ~size_t{15})); }
Verdict Misaligned1() { return Free(Get() + 1); }
Verdict Misaligned8() { return Free(Get() + 8); }
Verdict Stack() {
  alignas(16) char bytes[kSize + 64] = {};
  return Free(bytes + 32);
}
Verdict Global() { return Free(global_bytes + 64); }
Verdict Mapping() { return Free(MapPages() + 64); }

Verdict SpiritStack() {
  alignas(4096) char bytes[kSize + 4096] = {};
  return Free(Forge(bytes));
}
Verdict SpiritGlobal() { return Free(Forge(global_bytes)); }
Verdict SpiritMapping() { return Free(Forge(MapPages())); }
// The header is forged inside a live block.
Verdict SpiritBlock() {
  char* block = Get(2 * kSize + 128);
  return Free(Forge(block + 16));
}
