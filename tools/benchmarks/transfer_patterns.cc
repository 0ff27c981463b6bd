// transfer_patterns.cc: several threads and the blocks that they pass around.
//
// As in thread_patterns.cc, threads wait for each other asleep. How much work
// is done never depends on who comes first; who frees a block may.

#include <atomic>
#include <utility>

#include "patterns.h"
#include "threads.h"

namespace bench {
namespace {

// Queue: batches of blocks on their way from one thread to one other.
class Queue {
 public:
  Queue(size_t depth, size_t batch) : depth_(depth), batch_(batch), blocks_(depth * batch) {
    sem_init(&empty_, 0, static_cast<unsigned>(depth));
    sem_init(&full_, 0, 0);
  }

  // Waits for room. Returns: where to put the next batch; Sent() passes it on.
  char** Room() {
    Wait(&empty_);
    return &blocks_[sent_++ % depth_ * batch_];
  }
  void Sent() { sem_post(&full_); }

  // Waits for a batch. Returns: its blocks; Taken() gives their room back.
  char** Next() {
    Wait(&full_);
    return &blocks_[taken_++ % depth_ * batch_];
  }
  void Taken() { sem_post(&empty_); }

 private:
  size_t depth_;
  size_t batch_;
  Array<char*> blocks_;
  sem_t empty_;
  sem_t full_;
  alignas(64) size_t sent_ = 0;   // the sender's
  alignas(64) size_t taken_ = 0;  // the receiver's
};

uint32_t DrawSize(Random& random) { return random.Between(kChurnSizes.low, kChurnSizes.high); }

}  // namespace

// A server with two lines of workers. A worker replaces random blocks of its
// line's slots, ends, and leaves them to its successor: most blocks are freed
// by a thread that did not allocate them, after that one is gone.
void SlotServer(Stopwatch& watch) {
  constexpr int kLines = 2;
  constexpr int kGenerations = 20;
  constexpr int kReplacements = 5000;
  constexpr uint32_t kSlots = 1000;
  Array<char*> slots(kLines * kSlots);
  Random filler(20);
  for (char*& slot : slots) slot = Take(DrawSize(filler));
  watch.Repeat([&] {
    int64_t bytes[kLines] = {};
    for (int generation = 0; generation < kGenerations; ++generation) {
      InThreads(kLines, [&](int line) {
        Random random(21 + generation * kLines + line);
        char** own = &slots[static_cast<size_t>(line) * kSlots];
        for (int i = 0; i < kReplacements; ++i) {
          char*& slot = own[random.Below(kSlots)];
          const uint32_t size = DrawSize(random);
          free(slot);
          slot = Take(size);
          bytes[line] += size;
        }
      });
    }
    return Work{kLines * kGenerations * kReplacements, bytes[0] + bytes[1]};
  });
  for (char* slot : slots) free(slot);
}

// A producer may be 100,000 blocks of mixed size ahead of the consumer.
void DeepQueue(Stopwatch& watch) {
  constexpr size_t kBatch = 1000;
  constexpr size_t kDepth = 100;
  constexpr int kBatches = 200;
  Queue queue(kDepth, kBatch);
  watch.Repeat([&] {
    int64_t bytes = 0;
    InThreads(2, [&](int index) {
      Random random(22);
      for (int batch = 0; batch < kBatches; ++batch) {
        char** blocks = index == 0 ? queue.Room() : queue.Next();
        for (size_t i = 0; i < kBatch; ++i) {
          if (index == 0) {
            const uint32_t size = DrawSize(random);
            blocks[i] = Take(size);
            bytes += size;
          } else {
            free(blocks[i]);
          }
        }
        if (index == 0) {
          queue.Sent();
        } else {
          queue.Taken();
        }
      }
    });
    return Work{kBatches * kBatch, bytes};
  });
}

// Four threads in a circle: each frees every second block of the batches that
// come in, puts its own in their place, and passes the batch on.
void Ring(Stopwatch& watch) {
  constexpr int kThreads = 4;
  constexpr size_t kBatch = 500;
  constexpr int kRounds = 40;
  constexpr int kBatchesEach = 2;
  Queue queues[kThreads] = {Queue(kBatchesEach + 1, kBatch), Queue(kBatchesEach + 1, kBatch),
                            Queue(kBatchesEach + 1, kBatch), Queue(kBatchesEach + 1, kBatch)};
  watch.Repeat([&] {
    int64_t bytes[kThreads] = {};
    InThreads(kThreads, [&](int index) {
      Random random(23 + index);
      Queue& in = queues[index];
      Queue& out = queues[(index + 1) % kThreads];
      auto take = [&](char*& block) {
        const uint32_t size = DrawSize(random);
        block = Take(size);
        bytes[index] += size;
      };
      for (int i = 0; i < kBatchesEach; ++i) {
        char** fresh = out.Room();
        for (size_t j = 0; j < kBatch; ++j) take(fresh[j]);
        out.Sent();
      }
      for (int round = 0; round < kRounds; ++round) {
        for (int i = 0; i < kBatchesEach; ++i) {
          char** blocks = in.Next();
          char** next = out.Room();
          for (size_t j = 0; j < kBatch; ++j) {
            if ((j + static_cast<size_t>(round)) % 2 == 0) {
              free(blocks[j]);
              take(blocks[j]);
            }
            next[j] = blocks[j];
          }
          in.Taken();
          out.Sent();
        }
      }
      for (int i = 0; i < kBatchesEach; ++i) {
        char** blocks = in.Next();
        for (size_t j = 0; j < kBatch; ++j) free(blocks[j]);
        in.Taken();
      }
    });
    return Work{kThreads * kBatchesEach * (kRounds / 2 + 1) * static_cast<int64_t>(kBatch),
                bytes[0] + bytes[1] + bytes[2] + bytes[3]};
  });
}

// Three stages: the first reads messages, the second answers each with a block
// of its own and frees the message, the third frees the answers.
void Pipe(Stopwatch& watch) {
  constexpr size_t kBatch = 500;
  constexpr int kBatches = 150;
  Queue messages(4, kBatch);
  Queue answers(4, kBatch);
  watch.Repeat([&] {
    int64_t bytes[2] = {};
    InThreads(3, [&](int stage) {
      Random random(30 + stage);
      for (int batch = 0; batch < kBatches; ++batch) {
        char** in = stage == 0 ? nullptr : stage == 1 ? messages.Next() : answers.Next();
        char** out = stage == 0 ? messages.Room() : stage == 1 ? answers.Room() : nullptr;
        for (size_t i = 0; i < kBatch; ++i) {
          if (out != nullptr) {
            const uint32_t size = DrawSize(random);
            out[i] = Take(size);
            bytes[stage] += size;
          }
          if (in != nullptr) free(in[i]);
        }
        if (stage == 0) messages.Sent();
        if (stage == 1) messages.Taken();
        if (stage == 1) answers.Sent();
        if (stage == 2) answers.Taken();
      }
    });
    return Work{int64_t{2} * kBatches * kBatch, bytes[0] + bytes[1]};
  });
}

// Eight threads build lists of blocks in rounds. Of every eight blocks one is
// exchanged with whatever lies in a shared place, so that it ends elsewhere.
void Transfers(Stopwatch& watch) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 10;
  constexpr uint32_t kBlocks = 1000;
  constexpr size_t kPlaces = 1024;
  Array<std::atomic<char*>> places(kPlaces);
  Array<char*> own(kThreads * kBlocks);
  watch.Repeat([&] {
    int64_t bytes[kThreads] = {};
    for (int round = 0; round < kRounds; ++round) {
      InThreads(kThreads, [&](int index) {
        Random random(40 + round * kThreads + index);
        char** blocks = &own[static_cast<size_t>(index) * kBlocks];
        int64_t requested = 0;
        for (uint32_t i = 0; i < 2 * kBlocks; ++i) {
          // One in a hundred is large.
          const uint32_t size =
              random.Below(100) == 0 ? random.Between(4096, 32768) : random.Between(8, 256);
          char*& block = blocks[random.Below(kBlocks)];
          free(block);
          block = Take(size);
          requested += size;
          if (i % 8 == 0) {
            block = places[random.Below(kPlaces)].exchange(block, std::memory_order_acq_rel);
          }
        }
        // Every second one stays for the thread of the next round.
        for (uint32_t i = 0; i < kBlocks; i += 2) {
          free(blocks[i]);
          blocks[i] = nullptr;
        }
        bytes[index] += requested;
      });
    }
    Work work{int64_t{kThreads} * kRounds * 2 * kBlocks, 0};
    for (const int64_t requested : bytes) work.bytes += requested;
    return work;
  });
  for (char* block : own) free(block);
  for (std::atomic<char*>& place : places) free(place.load());
}

namespace {

constexpr int kSharers = 2;
constexpr int kShares = 2000;
constexpr int kWrites = 200;
constexpr size_t kSharedSize = 8;

// Writes to a block often enough that a cache line which another CPU writes
// to as well costs more than the malloc.
void WriteOften(char* block) {
  for (int i = 0; i < kWrites; ++i) {
    ++*block;
    Escape(block);
  }
}

}  // namespace

// Two threads take small blocks and write to them: an allocator that hands out
// two parts of one cache line makes them wait for each other.
void ActiveFalseSharing(Stopwatch& watch) {
  watch.Repeat([&] {
    InThreads(kSharers, [](int) {
      for (int i = 0; i < kShares; ++i) {
        char* block = Take(kSharedSize);
        WriteOften(block);
        free(block);
      }
    });
    return Work{kSharers * kShares, kSharers * kShares * kSharedSize};
  });
}

// The main thread's neighbouring blocks go to a thread each, which frees its
// block first: an allocator that reuses it there keeps the line shared.
void PassiveFalseSharing(Stopwatch& watch) {
  watch.Repeat([&] {
    char* given[kSharers];
    for (char*& block : given) block = Take(kSharedSize);
    InThreads(kSharers, [&](int index) {
      WriteOften(given[index]);
      free(given[index]);
      for (int i = 0; i < kShares; ++i) {
        char* block = Take(kSharedSize);
        WriteOften(block);
        free(block);
      }
    });
    return Work{kSharers * (kShares + 1), kSharers * (kShares + 1) * kSharedSize};
  });
}

// The same work for any number of threads: each replaces blocks of its own and,
// one time in ten, a block of whoever comes by.
void Scale(Stopwatch& watch, int threads) {
  constexpr int64_t kOperations = 256'000;
  constexpr uint32_t kLive = 6400;
  constexpr size_t kPlaces = 256;
  Array<char*> blocks(kLive);
  Array<std::atomic<char*>> places(kPlaces);
  Array<int64_t> bytes(kMostThreads);
  const uint32_t live = kLive / static_cast<uint32_t>(threads);
  const int64_t operations = kOperations / threads;
  watch.Repeat([&] {
    InThreads(threads, [&](int index) {
      Random random(60 + index);
      char** own = &blocks[static_cast<size_t>(index) * live];
      int64_t requested = 0;
      for (int64_t i = 0; i < operations; ++i) {
        const uint32_t size = DrawSize(random);
        char* block = Take(size);
        requested += size;
        if (i % 10 == 0) {
          free(places[random.Below(kPlaces)].exchange(block, std::memory_order_acq_rel));
        } else {
          free(std::exchange(own[random.Below(live)], block));
        }
      }
      bytes[static_cast<size_t>(index)] = requested;
    });
    Work work{operations * threads, 0};
    for (int i = 0; i < threads; ++i) work.bytes += bytes[static_cast<size_t>(i)];
    return work;
  });
  for (char* block : blocks) free(block);
  for (std::atomic<char*>& place : places) free(place.load());
}

}  // namespace bench
