// Much of the C++ library and some templates, for the parser alone.

#include <algorithm>
#include <array>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int kDepth>
struct Nest {
  using Inner = typename Nest<kDepth - 1>::Type;
  using Type = std::tuple<std::map<std::string, std::array<int, kDepth + 1>>, std::optional<int>>;
  Type value;
  std::variant<Inner, std::vector<Inner>> other;
};

template <>
struct Nest<0> {
  using Type = int;
};

int Words(const std::string& text) {
  Nest<12> nest;
  (void)nest;
  static const std::regex word("[a-z]+");
  std::unordered_map<std::string, std::set<int>> found;
  for (std::sregex_iterator i(text.begin(), text.end(), word), end; i != end; ++i) {
    found[i->str()].insert(static_cast<int>(i->position()));
  }
  return std::accumulate(text.begin(), text.end(), static_cast<int>(found.size()));
}
