// A heap of small objects that point to each other, walked far more often than it changes: what the
// places of objects cost whoever uses them. Records as a JSON parser makes them are built one after
// another and walked in that order; then a random quarter makes room for new ones.

#include <cinttypes>

#include "patterns.h"

namespace bench {
namespace {

struct Node {
  Node* next;
  Node* first;
  char* text;
  uint64_t value;
};

constexpr uint64_t kSeed = 5;
constexpr Sizes kTextSizes = {8, 64};
constexpr uint32_t kFields = 5;
constexpr Sizes kReadings = {2, 10};
// The least that a record asks for: its root, its fields and two readings.
constexpr size_t kLeastRecord = (1 + kFields + kReadings.low) * (sizeof(Node) + kTextSizes.low);

// Records: the heap, and what was allocated for it.
class Records {
 public:
  // Builds records until they have asked for `bytes`.
  explicit Records(size_t bytes) : random_(kSeed), records_(bytes / kLeastRecord + 1) {
    while (static_cast<size_t>(work_.bytes) < bytes) records_[count_++] = NewRecord();
  }

  // Puts a new record into the place of one in four.
  void ReplaceQuarter() {
    Random same = random_;
    for (size_t i = 0; i < count_; ++i) {
      if (same.Below(4) == 0) Delete(records_[i]), records_[i] = nullptr;
    }
    for (size_t i = 0; i < count_; ++i) {
      if (records_[i] == nullptr) records_[i] = NewRecord();
    }
  }

  uint64_t Walk() {
    uint64_t sum = 0;
    for (size_t i = 0; i < count_; ++i) sum = sum * 31 + WalkList(records_[i]);
    return sum;
  }

  void Clear() {
    for (size_t i = 0; i < count_; ++i) Delete(records_[i]);
    count_ = 0;
  }

  const Work& work() const { return work_; }

 private:
  char* TakeCounted(size_t size) {
    ++work_.operations;
    work_.bytes += static_cast<int64_t>(size);
    return Take(size);
  }

  Node* NewNode() {
    Node* const node = reinterpret_cast<Node*>(TakeCounted(sizeof(Node)));
    const uint32_t length = random_.Between(kTextSizes.low, kTextSizes.high);
    *node = {nullptr, nullptr, TakeCounted(length), random_.Below(1'000'000)};
    memset(node->text, 'a' + static_cast<int>(length % 26), length);
    return node;
  }

  Node* NewList(uint32_t count) {
    Node* first = nullptr;
    for (Node** last = &first; count > 0; --count, last = &(*last)->next) *last = NewNode();
    return first;
  }

  // A root with fields, of which the last is a list of readings.
  Node* NewRecord() {
    Node* const root = NewNode();
    root->first = NewList(kFields);
    Node* last = root->first;
    while (last->next != nullptr) last = last->next;
    last->first = NewList(random_.Between(kReadings.low, kReadings.high));
    return root;
  }

  static uint64_t WalkList(const Node* node) {
    uint64_t sum = 0;
    for (; node != nullptr; node = node->next) {
      sum += node->value + static_cast<uint64_t>(*node->text) + WalkList(node->first);
    }
    return sum;
  }

  static void Delete(Node* node) {
    while (node != nullptr) {
      Node* const next = node->next;
      Delete(node->first);
      free(node->text);
      free(node);
      node = next;
    }
  }

  Random random_;
  Array<Node*> records_;
  size_t count_ = 0;
  Work work_;
};

// Adds the CPU time of `part` to *sum.
template <typename Part>
void AddTime(int64_t* sum, Part part) {
  const int64_t start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  part();
  *sum += Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start;
}

}  // namespace

void Heap(size_t bytes, int rounds, int walks) {
  int64_t change_ns = 0, walk_ns = 0;
  const int64_t start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  Records records(bytes);
  change_ns += Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start;
  uint64_t sum = 0;
  for (int round = 0; round <= rounds; ++round) {
    if (round > 0) AddTime(&change_ns, [&] { records.ReplaceQuarter(); });
    AddTime(&walk_ns, [&] {
      for (int i = 0; i < walks; ++i) sum = sum * 7 + records.Walk();
    });
  }
  const int64_t rss_kib = RssKib();
  const int64_t maps = MapsLines();
  AddTime(&change_ns, [&] { records.Clear(); });
  const Work& work = records.work();
  const double operations = static_cast<double>(work.operations);
  printf(" ops=%" PRId64 " bytes=%" PRId64 " sum=%" PRIu64
         " cpu_ns=%.3f change_ns=%.3f walk_ns=%.3f rss_kib=%" PRId64 " maps=%" PRId64,
         work.operations, work.bytes, sum % 1'000'000'007,
         static_cast<double>(change_ns + walk_ns) / operations,
         static_cast<double>(change_ns) / operations, static_cast<double>(walk_ns) / operations,
         rss_kib, maps);
}

}  // namespace bench
