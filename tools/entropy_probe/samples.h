// Samples: what one process of the probe measured, as named columns.
//
// A process writes all its values with one write() of at most PIPE_BUF bytes, which is atomic: any
// number of processes may share one pipe. The same code names the columns, so that the two cannot
// disagree.
//
// Threads: one.

#ifndef TOOLS_ENTROPY_PROBE_SAMPLES_H_
#define TOOLS_ENTROPY_PROBE_SAMPLES_H_

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

class Samples {
 public:
  // One value; columns of one name are repeated samples of the same thing.
  void Add(const char* name, size_t bytes, int64_t value);

  // Writes the values, or with `names` their columns as lines "name/bytes", to stdout.
  // Returns: whether it could.
  bool Write(bool names) const;

 private:
  static constexpr int kMost = PIPE_BUF / sizeof(int64_t);
  struct Column {
    const char* name;
    size_t bytes;
  };
  Column columns_[kMost];
  int64_t values_[kMost];
  int count_ = 0;
};

#endif  // TOOLS_ENTROPY_PROBE_SAMPLES_H_
