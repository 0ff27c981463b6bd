#include "tests/detection/detection_table.h"

#include <algorithm>

const std::vector<Feature> kMissing = {};

namespace {

// ---- cells

constexpr std::string_view kCanary = "canary clobbered";
constexpr std::string_view kWriteAfterFree = "write after free";
constexpr std::string_view kOutside = "access outside an allocation";

using Cells = std::array<Cell, kColumns.size()>;

Names Kinds(std::string_view kind) { return {std::string(kind)}; }

// By the call that the crime makes.
Cell AtTheCall(Names kinds) {
  return {.outcome = Outcome::kReported, .when = "at the call", .kinds = std::move(kinds)};
}
Cell AtFree(std::string_view kind) {
  return {
      .outcome = Outcome::kReported, .when = "at free", .kinds = Kinds(kind), .found_by = {"free"}};
}
// When the slot leaves the quarantine or is handed out again; the sweep of paranoid may come first.
Cell AtReuse() {
  return {.outcome = Outcome::kReported,
          .when = "at re-use",
          .kinds = Kinds(kWriteAfterFree),
          .found_by = {"quarantine", "malloc", "sweep"}};
}
Cell BySweep(std::string_view kind) {
  return {.outcome = Outcome::kReported,
          .when = "by the sweep",
          .kinds = Kinds(kind),
          .found_by = {"sweep"}};
}
Cell Faults(std::string_view kind) {
  return {
      .outcome = Outcome::kFaults, .when = "fault", .kinds = Kinds(kind), .found_by = {"a fault"}};
}
Cell GoesOn(std::string_view kind) {
  return {
      .outcome = Outcome::kReportedAndGoesOn, .when = "reported, goes on", .kinds = Kinds(kind)};
}
Cell Sometimes(double rate, Cell cell, int runs = 200) {
  cell.outcome = Outcome::kSometimes;
  cell.rate = rate;
  cell.runs = runs;
  return cell;
}
Cell Prevented() { return {.outcome = Outcome::kPrevented, .when = "prevented"}; }
Cell No() { return {}; }

Cell Once(Feature feature, Cell cell) {
  cell.needs = feature;
  return cell;
}

// From a level on: what is weaker does not detect it.
Cells AtEveryLevel(const Cell& cell) { return {cell, cell, cell, cell}; }
Cells FromStandard(const Cell& cell) { return {No(), cell, cell, cell}; }
Cells FromStrict(const Cell& cell) { return {No(), No(), cell, cell}; }
Cells OnlyParanoid(const Cell& cell) { return {No(), No(), No(), cell}; }
Cells Never() { return {}; }
// Ignored, reported, fatal.
Cells Mismatch(std::string_view kind) {
  return {No(), GoesOn(kind), AtTheCall(Kinds(kind)), AtTheCall(Kinds(kind))};
}

// ---- rows

const Sizes kSizes = {16, 64, 4096, 262144};
const Sizes kSlotSizes = {16, 64, 4096};
const Sizes kRunSizes = {262144};
// What standard wipes, and what it does not.
const Sizes kWiped = {16, 64, 100};
const Sizes kNotWiped = {1000, 4096};

const Names kFrees = {"free", "delete", "delete_array"};
const Names kAllFrees = {"free",         "free_sized",   "free_aligned_sized", "delete",
                         "delete_array", "delete_sized", "aligned_delete"};
const Names kUses = {"realloc", "reallocarray", "malloc_usable_size"};

Row Freed(std::string_view misuse, std::string_view crime, Names variants, Sizes sizes) {
  return {misuse,
          Program::kMisuse,
          crime,
          std::move(variants),
          std::move(sizes),
          AtEveryLevel(AtTheCall({"double free"}))};
}

Row BadPointer(std::string_view misuse, std::string_view crime, Names variants, Sizes sizes,
               Names kinds) {
  return {misuse,
          Program::kMisuse,
          crime,
          std::move(variants),
          std::move(sizes),
          AtEveryLevel(AtTheCall(std::move(kinds)))};
}

Row Foreign(std::string_view misuse, std::string_view crime) {
  Names variants = kAllFrees;
  variants.insert(variants.end(), kUses.begin(), kUses.end());
  return BadPointer(misuse, crime, variants, {64}, {"foreign pointer"});
}

Row OfCrime(std::string_view misuse, std::string_view crime, Names variants, Sizes sizes,
            Cells cells) {
  return {misuse, Program::kCrimes, crime, std::move(variants), std::move(sizes), std::move(cells)};
}

Group DoubleFrees() {
  const Cells at_latest_when_collected = AtEveryLevel({.outcome = Outcome::kReported,
                                                       .when = "at the call or when collected",
                                                       .kinds = {"double free"},
                                                       .found_by = {"free", "collection"}});
  return {
      "Double free",
      {
          Freed("Free of a freed pointer", "Freed", kAllFrees, kSizes),
          Freed("Free of a freed pointer, another free between", "FreedBeforeAnotherFree", kFrees,
                kSizes),
          Freed("Free of a freed pointer, its bytes overwritten", "FreedThenOverwritten", kFrees,
                kSlotSizes),
          Freed("Free of a freed pointer, after 10,000 allocations", "FreedThenManyAllocations",
                {"free"}, kSlotSizes),
          BadPointer("Free of a freed pointer, its whole slab freed", "FreedWithItsWholeSlab",
                     kFrees, {16, 64}, {"double free", "unallocated pointer"}),
          OfCrime("Free of a freed pointer that left the quarantine", "DoubleFreeAfterQuarantine",
                  {"free"}, kSlotSizes, AtEveryLevel(AtFree("double free"))),
          Freed("Free of what realloc to 0 bytes freed", "FreedByRealloc", {"free"}, kSizes),
          Freed("Free of what realloc moved", "FreedByMovingRealloc", {"free"}, kSlotSizes),
          Freed("By its owner, then by another thread", "OwnerThenRemote", kFrees, kSizes),
          Freed("By another thread, then by its owner", "RemoteThenOwner", kFrees, kSizes),
          Freed("By two other threads", "RemoteThenOtherRemote", kFrees, kSizes),
          Freed("Twice by one other thread", "RemoteTwice", kFrees, kSizes),
          Freed("Twice after its owner ended", "FreedTwiceAfterItsOwnerEnded", kFrees, kSizes),
          Freed("By an owner that ended, then by another thread", "FreedByAnOwnerThatEnded", kFrees,
                kSizes),
          OfCrime("By 2 to 64 threads at the same moment", "DoubleFreeRace",
                  {"2:owner", "2:remotes", "8:owner", "64:owner", "64:remotes"}, {64, 4096, 262144},
                  at_latest_when_collected),
          OfCrime("By the parent, then by its forked child", "DoubleFreeInAForkedChild", {"free"},
                  kSizes, AtEveryLevel(AtFree("double free"))),
          OfCrime("Free of memory that belongs to somebody else by now", "DoubleFreeAfterReuse",
                  {"free"}, {16, 64, 1000}, Never()),
      }};
}

Group StalePointers() {
  const Names stale = {"stale pointer"};
  return {"Calls with a freed pointer",
          {
              BadPointer("realloc or malloc_usable_size of a freed pointer", "Freed", kUses, kSizes,
                         stale),
              BadPointer("realloc after the freed bytes were overwritten with zeros",
                         "FreedThenZeroed", {"realloc"}, kSlotSizes, stale),
              BadPointer("By its owner, freed by another thread", "RemoteThenOwner", kUses, kSizes,
                         stale),
              BadPointer("By another thread, freed by its owner", "OwnerThenRemote", kUses, kSizes,
                         stale),
              BadPointer("realloc of a pointer that realloc moved", "FreedByMovingRealloc",
                         {"realloc"}, kSlotSizes, stale),
          }};
}

Group BadPointers() {
  const Names interior = {"interior pointer"};
  const Names misaligned = {"misaligned pointer"};
  const Names guesses = {"unallocated pointer", "foreign pointer", "interior pointer",
                         "double free", "stale pointer"};
  Names calls = kAllFrees;
  calls.insert(calls.end(), kUses.begin(), kUses.end());
  return {
      "Pointers that are not the start of an allocation",
      {
          BadPointer("16 bytes into an allocation", "InteriorBy16", calls, {64, 4096, 262144},
                     interior),
          BadPointer("The middle of an allocation", "InteriorAtTheMiddle", calls,
                     {64, 4096, 262144}, interior),
          BadPointer("Near the end of an allocation", "InteriorNearTheEnd", calls,
                     {64, 4096, 262144}, interior),
          BadPointer("A page into an allocation", "InteriorAtAPage", calls, kRunSizes, interior),
          BadPointer("1 byte into an allocation", "MisalignedBy1", calls, kSizes, misaligned),
          BadPointer("8 bytes into an allocation", "MisalignedBy8", calls, kSizes, misaligned),
          BadPointer("8 bytes into freed memory", "MisalignedInAFreedBlock", {"free", "realloc"},
                     kSlotSizes, misaligned),
          Foreign("The stack", "ForeignStack"),
          Foreign("A global variable", "ForeignGlobal"),
          Foreign("A thread-local variable", "ForeignThreadLocal"),
          Foreign("A string literal", "ForeignStringLiteral"),
          Foreign("A function", "ForeignFunction"),
          Foreign("Memory from mmap", "ForeignMmap"),
          Foreign("Memory that was unmapped", "ForeignMunmapped"),
          Foreign("Memory from sbrk", "ForeignProgramBreak"),
          Foreign("A fake chunk header in a global variable", "ForeignFakeHeaderInGlobal"),
          Foreign("A fake chunk header in memory from mmap", "ForeignFakeHeaderInMmap"),
          Foreign("A small integer", "Foreign0x10"),
          Foreign("A non-canonical address", "ForeignNonCanonical"),
          Foreign("A kernel address", "ForeignKernel"),
          BadPointer("A guess 64 KiB above an allocation", "GuessOneChunkUp", {"free", "realloc"},
                     {64, 1000, 20000}, guesses),
      }};
}

Group Overflows() {
  const Cell at_the_call = AtTheCall(Kinds(kCanary));
  const Cell at_free = AtFree(kCanary);
  return {
      "Writes past the end of an allocation in a slot",
      {
          OfCrime("1 byte that changes what was there", "Overflow",
                  {"free:1", "free_sized:1", "delete:1:new", "delete_array:1:new_array"},
                  kSlotSizes, FromStandard(at_the_call)),
          OfCrime("1 random byte, every size up to 4,096", "OverflowEverySize", {"1:random"},
                  {1024, 2048, 3072, 4096}, FromStandard(Sometimes(1 - 1.0 / 256, at_free, 1))),
          OfCrime("2 random bytes, every size up to 4,096", "OverflowEverySize", {"2:random"},
                  {1024, 2048, 3072, 4096}, FromStandard(Sometimes(1 - 1.0 / 65536, at_free, 1))),
          OfCrime("The NUL of a string, every size up to 4,096", "OverflowEverySize", {"1:nul"},
                  {1024, 2048, 3072, 4096}, FromStandard(at_free)),
          OfCrime("16 bytes", "Overflow", {"free:16"}, kSlotSizes, FromStandard(at_the_call)),
          OfCrime("64 bytes", "Overflow", {"free:64"}, kSlotSizes, FromStandard(at_the_call)),
          OfCrime("4,096 bytes", "Overflow", {"free:4096"}, kSlotSizes, FromStandard(at_the_call)),
          OfCrime("1 byte, allocated by any function", "OverflowByMaker",
                  {"malloc", "calloc", "realloc", "grown", "shrunk", "memalign", "aligned_alloc",
                   "posix_memalign", "new", "new_array", "aligned_new", "aligned_new_array"},
                  {40, 300},
                  FromStandard({.outcome = Outcome::kReported,
                                .when = "at the call",
                                .kinds = Kinds(kCanary),
                                .found_by = {"free", "operator delete", "operator delete[]"}})),
          OfCrime("Noticed by realloc", "Overflow", {"realloc:1", "reallocarray:1", "realloc:64"},
                  kSlotSizes, FromStandard(at_the_call)),
          OfCrime("Noticed by malloc_usable_size", "Overflow", {"malloc_usable_size:1"}, kSlotSizes,
                  FromStandard(at_the_call)),
          OfCrime("By a thread that does not own the slot", "OverflowByAnotherThread", {"free:1"},
                  kSlotSizes, FromStandard(at_the_call)),
          OfCrime("In a forked child, of an inherited allocation", "OverflowOfAnInheritedBlock",
                  {""}, kSlotSizes, FromStandard(at_free)),
          OfCrime("Of an allocation that lives on, when its neighbour is freed",
                  "OverflowThenNeighbourFreed", {"1", "16"}, kSlotSizes, FromStrict(at_free)),
          OfCrime("Of an allocation that is never freed, before the program ends",
                  "OverflowNeverFreed", {"exit"}, kSlotSizes, OnlyParanoid(BySweep(kCanary))),
          OfCrime("Of an allocation that is never freed, while the program runs",
                  "OverflowNeverFreed", {"background"}, {64}, OnlyParanoid(BySweep(kCanary))),
          OfCrime("Into the free slot behind, past the canary (8 to 32 bytes)", "JumpIntoFree",
                  {"8:near", "16:near", "32:near"}, {64, 4096},
                  FromStrict(AtFree(kWriteAfterFree))),
          OfCrime("Anywhere into the free slot behind, above 126 bytes", "JumpIntoFree",
                  {"8:far", "32:far"}, kNotWiped,
                  FromStrict({.outcome = Outcome::kReported,
                              .when = "at free or re-use",
                              .kinds = Kinds(kWriteAfterFree),
                              .found_by = {"free", "quarantine", "malloc", "sweep"}})),
          OfCrime("Into the live allocation behind, past the canary", "JumpIntoLive", {"8", "16"},
                  kSlotSizes, Never()),
          OfCrime("Within one allocation, from one member into the next", "OverflowWithinTheBlock",
                  {""}, kSlotSizes, Never()),
      }};
}

Group ForgedCanaries() {
  const Cell at_free = AtFree(kCanary);
  return {"Overflows by somebody who has read a canary",
          {
              OfCrime("With the canary of another slot", "CanaryOfAnotherSlot", {""}, kSlotSizes,
                      FromStandard(at_free)),
              OfCrime("With the canary of an earlier allocation in the same slot",
                      "CanaryOfAnEarlierLife", {""}, {64},
                      FromStandard(Sometimes(1 - 1.0 / 4096, at_free))),
              OfCrime("In a forked child, with a canary of its parent", "CanaryOfTheParent", {""},
                      kSlotSizes, FromStandard(at_free)),
              OfCrime("With the canary of this very allocation", "CanaryOfTheSameSlot", {""},
                      kSlotSizes, Never()),
          }};
}

Group Underflows() {
  return {"Writes before the start of an allocation in a slot",
          {
              OfCrime("1 byte, when the allocation in front is freed", "Underflow", {"left"},
                      kSlotSizes, FromStrict(AtFree(kCanary))),
              OfCrime("1 byte, when the allocation in front is freed and fills its slot",
                      "Underflow", {"left"}, {24, 56, 120}, FromStandard(AtFree(kCanary))),
              OfCrime("1 byte, when the allocation itself is freed", "Underflow", {"victim"},
                      kSlotSizes, FromStrict(AtFree(kCanary))),
              OfCrime("1 byte into a free slot", "UnderflowIntoFree", {""}, kSlotSizes,
                      FromStrict(AtFree(kWriteAfterFree))),
          }};
}

Group Runs() {
  const Cell outside = Faults(kOutside);
  // 100 bytes short of whole pages: strict leaves 4 bytes between its end and the guard.
  const Sizes odd = {262044};
  return {
      "Large allocations (above 64 KiB)",
      {
          OfCrime("Write past the last page", "TouchRun", {"write:0"}, {262144, 1 << 20},
                  AtEveryLevel(outside)),
          OfCrime("Read past the last page", "TouchRun", {"read:0"}, {262144, 1 << 20},
                  AtEveryLevel(outside)),
          OfCrime("Write of 1 byte past the exact end", "TouchRun", {"write:0"}, odd,
                  FromStandard(AtFree(kCanary))),
          OfCrime("Write of 16 bytes past the exact end", "Overflow", {"free:16"}, odd,
                  {No(), AtFree(kCanary), outside, outside}),
          OfCrime("Read 16 bytes past the exact end", "TouchRun", {"read:16"}, odd,
                  FromStrict(outside)),
          OfCrime("Write 1 byte before the start", "TouchRun", {"write:-1"}, kRunSizes,
                  AtEveryLevel(outside)),
          OfCrime("Write 1 byte before the start, of a size that is not whole pages", "TouchRun",
                  {"write:-1"}, odd, {outside, outside, AtFree(kCanary), AtFree(kCanary)}),
          OfCrime("Read of freed memory", "TouchFreedRun", {"read"}, {262144, 1 << 20},
                  FromStrict(Faults("use after free"))),
          OfCrime("Write to freed memory", "TouchFreedRun", {"write"}, {262144, 1 << 20},
                  FromStrict(Faults("use after free"))),
          OfCrime("Overflow of an allocation that is never freed", "OverflowNeverFreed", {"exit"},
                  {262138}, Never()),
      }};
}

Group OutOfBoundsReads() {
  const Cell outside = Faults(kOutside);
  return {"Reads past the end of an allocation in a slot",
          {
              OfCrime("Of the next slots", "ReadPastSlot", {"1", "64"}, kSlotSizes, Never()),
              OfCrime("Past the end of its slab", "ReadPastSlab", {""}, {64},
                      {No(), Sometimes(1.0 / 8, outside), Sometimes(1.0 / 2, outside), outside}),
          }};
}

Group UseAfterFree() {
  const Cell bad_link = {.outcome = Outcome::kReported,
                         .when = "when collected",
                         .kinds = {"bad link"},
                         .found_by = {"collection"}};
  return {"Use after free of a slot",
          {
              OfCrime("Write, up to 126 bytes", "WriteAfterFree", {"free:0"}, {64},
                      FromStandard(AtReuse())),
              OfCrime("Write, larger", "WriteAfterFree", {"free:0", "free:500"}, kNotWiped,
                      FromStrict(AtReuse())),
              OfCrime("Write to what realloc moved", "WriteAfterFree", {"realloc:8"}, {1000, 4096},
                      FromStrict(AtReuse())),
              OfCrime("Write to what another thread freed", "WriteAfterFree", {"remote:8"},
                      {1000, 4096}, FromStrict(AtReuse())),
              OfCrime("The same before its owner has taken it, up to 126 bytes", "WriteAfterFree",
                      {"waiting:0"}, {64}, FromStandard(AtReuse())),
              OfCrime("The same before its owner has taken it, larger", "WriteAfterFree",
                      {"waiting:0"}, {1000, 4096}, FromStrict(AtReuse())),
              OfCrime("Write after it left the quarantine", "WriteAfterQuarantine", {""},
                      kSlotSizes, FromStrict(AtReuse())),
              OfCrime("Write, when the slot is not used again before the program ends",
                      "WriteAfterFreeNeverReused", {""}, kSlotSizes,
                      OnlyParanoid(BySweep(kWriteAfterFree))),
              OfCrime("Write over the link of a slot that a thread freed whose exit had begun",
                      "OverwriteLink", {""}, kSlotSizes, AtEveryLevel(bad_link)),
              OfCrime("Write of another slot's link over a link", "CopyLink", {""}, kSlotSizes,
                      AtEveryLevel(bad_link)),
              OfCrime("Write when the memory belongs to somebody else by now", "WriteAfterReuse",
                      {""}, {16, 64, 1000}, Never()),
              OfCrime("Read of what it held, up to 126 bytes", "ReadAfterFree", {""}, kWiped,
                      FromStandard(Prevented())),
              OfCrime("Read of what it held, larger", "ReadAfterFree", {""}, kNotWiped,
                      FromStrict(Prevented())),
              OfCrime("Fresh memory that holds old secrets, up to 126 bytes", "ReadOfFreshBlock",
                      {""}, kWiped, FromStandard(Prevented())),
              OfCrime("Fresh memory that holds old secrets, larger", "ReadOfFreshBlock", {""},
                      kNotWiped, FromStrict(Prevented())),
              OfCrime("Re-use within 4,096 allocations, up to 62 bytes", "ReuseWithin", {"4096"},
                      {16, 62}, FromStandard(Prevented())),
          }};
}

Group ZeroBytes() {
  const Cell outside = Faults(kOutside);
  const Cell aligned = Once(Feature::kAlignedZero, outside);
  return {
      "Allocations of zero bytes",
      {
          OfCrime("Read", "TouchZeroBytes",
                  {"malloc:read", "calloc:read", "new:read", "new_array:read"}, {1},
                  FromStandard(outside)),
          OfCrime("Write", "TouchZeroBytes",
                  {"malloc:write", "calloc:write", "realloc:write", "new:write", "new_array:write"},
                  {1}, FromStandard(outside)),
          OfCrime("Read or write, with an alignment", "TouchZeroBytes",
                  {"aligned_alloc:read", "aligned_alloc:write", "aligned_new:write"}, {1},
                  {No(), aligned, outside, outside}),
      }};
}

Group Mismatches() {
  constexpr std::string_view kKind = "allocation kind mismatch";
  constexpr std::string_view kSize = "size mismatch";
  const Sizes sizes = {64, 4096, 262144};
  const auto kind = [&](std::string_view misuse, Names variants) {
    return OfCrime(misuse, "Mismatch", std::move(variants), sizes, Mismatch(kKind));
  };
  const auto size = [&](std::string_view misuse, Names variants) {
    return OfCrime(misuse, "WrongSize", std::move(variants), sizes, Mismatch(kSize));
  };
  return {
      "Ended by the wrong call",
      {
          kind("malloc, then delete or delete[]",
               {"delete:malloc", "delete:calloc", "delete:realloc", "delete_sized:malloc",
                "delete_array:malloc", "delete_array_sized:malloc", "aligned_delete:malloc",
                "aligned_delete_array:malloc"}),
          kind("aligned_alloc, then delete or delete[]",
               {"delete:aligned_alloc", "delete_array:posix_memalign",
                "aligned_delete:aligned_alloc", "aligned_delete_array:memalign"}),
          kind("new, then free", {"free:new", "free_sized:new", "free_aligned_sized:new"}),
          kind("new[], then free",
               {"free:new_array", "free_sized:new_array", "free_aligned_sized:new_array"}),
          kind("new, then delete[]", {"delete_array:new", "delete_array_sized:new"}),
          kind("new[], then delete", {"delete:new_array", "delete_sized:new_array"}),
          kind("new, then delete with an alignment",
               {"aligned_delete:new", "aligned_delete_sized:new", "aligned_delete_array:new_array",
                "aligned_delete_array_sized:new_array"}),
          kind("new with an alignment, then free",
               {"free:aligned_new", "free:aligned_new_array", "free_aligned_sized:aligned_new"}),
          kind("new with an alignment, then delete without",
               {"delete:aligned_new", "delete_sized:aligned_new", "delete_array:aligned_new_array",
                "delete_array_sized:aligned_new_array"}),
          kind("new with an alignment, then delete[] with one",
               {"aligned_delete_array:aligned_new", "aligned_delete:aligned_new_array"}),
          kind("new or new[], then realloc",
               {"realloc:new", "realloc:new_array", "reallocarray:new", "realloc:aligned_new"}),
          kind("aligned_alloc, then free_sized",
               {"free_sized:aligned_alloc", "free_sized:posix_memalign", "free_sized:memalign"}),
          kind("malloc, then free_aligned_sized",
               {"free_aligned_sized:malloc", "free_aligned_sized:calloc"}),
          OfCrime("By another thread", "MismatchInAnotherThread",
                  {"delete:malloc", "free:new", "delete_array:new"}, sizes, Mismatch(kKind)),
          size("free_sized with a wrong size", {"free_sized:malloc:-1", "free_sized:calloc:1"}),
          size("free_aligned_sized with a wrong size",
               {"free_aligned_sized:aligned_alloc:-1", "free_aligned_sized:aligned_alloc:1"}),
          size("delete with a wrong size", {"delete_sized:new:-1", "delete_sized:new:1"}),
          size("delete[] with a wrong size",
               {"delete_array_sized:new_array:-1", "delete_array_sized:new_array:1"}),
          size("delete with an alignment and a wrong size",
               {"aligned_delete_sized:aligned_new:-1",
                "aligned_delete_array_sized:aligned_new_array:1"}),
          OfCrime("free_aligned_sized or delete with a wrong alignment", "Mismatch",
                  {"free_aligned_sized_twice_as_aligned:aligned_alloc",
                   "aligned_delete_twice_as_aligned:aligned_new",
                   "aligned_delete_array_half_as_aligned:aligned_new_array"},
                  sizes, Mismatch(kSize)),
      }};
}

Group GuardedSamples() {
  // No size of a slot, with or without room for a canary.
  const auto row = [](std::string_view misuse, std::string_view crime, const Cell& cell) {
    return OfCrime(misuse, crime, {"read", "write"}, {100, 1000}, AtEveryLevel(cell));
  };
  return {
      "Allocations that are guarded samples",
      {
          row("Read or write past the end", "PastSample", Faults(kOutside)),
          row("Read or write past the end, aligned to 64", "PastAlignedSample", Faults(kOutside)),
          row("Read or write before the start", "BeforeSample", Faults(kOutside)),
          row("Read or write after free", "FreedSample", Faults("use after free")),
          row("Double free", "DoubleFreeOfSample", AtFree("double free")),
      }};
}

}  // namespace

std::string_view NameOf(Feature feature) {
  switch (feature) {
    case Feature::kPresent:
      return "nothing";
    case Feature::kAlignedZero:
      return "faults on aligned allocations of zero bytes";
  }
  return "";
}

bool IsMissing(Feature feature) {
  return std::find(kMissing.begin(), kMissing.end(), feature) != kMissing.end();
}

const std::vector<Group>& DetectionTable() {
  static const auto* const table = new std::vector<Group>{
      DoubleFrees(),    StalePointers(), BadPointers(),      Overflows(),
      ForgedCanaries(), Underflows(),    OutOfBoundsReads(), UseAfterFree(),
      Runs(),           ZeroBytes(),     Mismatches(),       GuardedSamples(),
  };
  return *table;
}

const Names& BuiltLevels() {
  static const auto* const levels = [] {
    auto* names = new Names;
    std::string_view rest = DETECTION_LEVELS;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(','), rest.size());
      names->emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return names;
  }();
  return *levels;
}

size_t ColumnOf(std::string_view level) {
  return static_cast<size_t>(std::find(kColumns.begin(), kColumns.end(), level) - kColumns.begin());
}

std::string CallNamedBy(std::string_view variant) {
  const std::string call(variant.substr(0, variant.find(':')));
  if (call.find("delete") != std::string::npos) {
    return call.find("array") != std::string::npos ? "operator delete[]" : "operator delete";
  }
  // It calls realloc by its public name.
  if (call == "reallocarray") return "realloc";
  return call == "free_aligned_sized_twice_as_aligned" ? "free_aligned_sized" : call;
}
