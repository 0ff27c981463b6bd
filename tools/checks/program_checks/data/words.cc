// The standard library of C++: containers, streams, exceptions, threads.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static std::map<std::string, int> Count(int seed) {
  std::map<std::string, int> count;
  for (int i = 0; i < 50000; ++i) {
    std::ostringstream word;
    word << "word-" << (i * seed) % 1009 << std::string(i % 100, 'x');
    ++count[word.str()];
  }
  return count;
}

int main() {
  std::vector<std::map<std::string, int>> counts(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&counts, i] { counts[i] = Count(7919 + i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& count : counts) {
    auto most = std::max_element(count.begin(), count.end(),
                                 [](const auto& a, const auto& b) { return a.second < b.second; });
    std::cout << count.size() << ' ' << most->first.size() << ' ' << most->second << '\n';
  }
  struct alignas(128) Wide { char byte = 1; };
  auto wide = std::make_unique<Wide[]>(33);
  std::cout << (reinterpret_cast<std::size_t>(wide.get()) % alignof(Wide)) << '\n';
  try {
    throw std::runtime_error(std::string(1000, 'e'));
  } catch (const std::exception& error) {
    std::cout << std::string(error.what()).size() << '\n';
  }
}
