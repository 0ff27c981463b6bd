#include "hardened/core/sparse_slabs.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_page_source.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

constexpr Placement kUniform = {.window_bytes = 0};
constexpr size_t kPage = 4096;

// Slabs of 512 KiB with 32 slots, of which one lives.
class SparseSlabsTest : public testing::Test {
 protected:
  static constexpr uint32_t kSlots = 32;

  SparseSlabsTest() {
    EXPECT_TRUE(arena_.Create(pages_, 32 * kSegmentSize, 20 << 10, random_));
    EXPECT_EQ(SlotsPerSlab(class_), kSlots);
  }

  // A slab of which `touched` slots were used; all but one of them have been returned.
  Slab& MakeSlab(uint32_t touched) {
    bool zero;
    const uint32_t first = arena_.AllocateSpan(SlabSlices(class_), 1, /*lead=*/0, &zero);
    Slab* slab = ::new (arena_.AllocateMetadata(Slab::MetadataBytes(class_, 1))) Slab;
    slab->Initialise(arena_, arena_, first, class_, 1, zero);
    std::vector<MagazineEntry> drawn(touched);
    for (uint32_t i = 0; i < touched; ++i) {
      EXPECT_EQ(slab->Draw(kUniform, random_, 1, &drawn[i]), 1u);
    }
    for (const MagazineEntry& entry : drawn) memset(entry.slot, 1, SlotSize(class_));
    for (uint32_t i = 1; i < touched; ++i) slab->Return(slab->IndexOfRecord(drawn[i].record));
    return *slab;
  }
  // Pages of the slab with memory that is not zero.
  static size_t PagesInUse(const Slab& slab) {
    size_t pages = 0;
    for (size_t at = 0; at < slab.span_bytes(); at += kPage) {
      pages += *reinterpret_cast<const char*>(slab.base() + at) != 0;
    }
    return pages;
  }

  const SizeClass class_ = SizeClassOf(16 << 10);
  const size_t slot_pages_ = SlotSize(class_) / kPage;
  FakePageSource pages_;
  SeededStream random_{1};
  Arena arena_;
  // In a zeroed block, as in a thread heap.
  std::unique_ptr<SparseSlabs> sparse_ = std::make_unique<SparseSlabs>();
};

TEST_F(SparseSlabsTest, BeyondFourMebibytesTheOldestGiveTheirFreePagesBack) {
  std::vector<Slab*> slabs;
  for (int i = 0; i < 8; ++i) {
    slabs.push_back(&MakeSlab(kSlots));
    sparse_->Note(*slabs.back());
  }
  for (const Slab* slab : slabs) EXPECT_EQ(PagesInUse(*slab), kSlots * slot_pages_);
  sparse_->Note(MakeSlab(kSlots));
  EXPECT_EQ(PagesInUse(*slabs[0]), slot_pages_);
  EXPECT_EQ(PagesInUse(*slabs[1]), kSlots * slot_pages_);
}

// What was never touched is not worth a system call, however many slabs there are.
TEST_F(SparseSlabsTest, OnlyWhatWasTouchedCounts) {
  constexpr uint32_t kTouched = 4;
  std::vector<Slab*> slabs;
  for (int i = 0; i < 64; ++i) {
    slabs.push_back(&MakeSlab(kTouched));
    sparse_->Note(*slabs.back());
  }
  for (const Slab* slab : slabs) EXPECT_EQ(PagesInUse(*slab), kTouched * slot_pages_);
  sparse_->Note(MakeSlab(kTouched));
  EXPECT_EQ(PagesInUse(*slabs[0]), slot_pages_);
  // Dropped, it counts for what lives in it until more is used.
  EXPECT_EQ(slabs[0]->touched_bytes(), SlotSize(class_));
}

TEST_F(SparseSlabsTest, AForgottenSlabKeepsItsMemory) {
  Slab& first = MakeSlab(kSlots);
  Slab& second = MakeSlab(kSlots);
  sparse_->Note(first);
  sparse_->Note(second);
  sparse_->Forget(first);
  for (int i = 0; i < 8; ++i) sparse_->Note(MakeSlab(kSlots));
  EXPECT_EQ(PagesInUse(first), kSlots * slot_pages_);
  EXPECT_EQ(PagesInUse(second), slot_pages_);
}

// There are 128.
TEST_F(SparseSlabsTest, WithoutAPlaceTheOldestGoes) {
  Slab& first = MakeSlab(2);
  sparse_->Note(first);
  for (int i = 0; i < 127; ++i) sparse_->Note(MakeSlab(1));
  EXPECT_EQ(PagesInUse(first), 2 * slot_pages_);
  sparse_->Note(MakeSlab(1));
  EXPECT_EQ(PagesInUse(first), slot_pages_);
}

}  // namespace
}  // namespace hardened::core
