// security_table_test: the table in SECURITY.md is the detection matrix that the tests prove.

#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/detection/matrix_markdown.h"

namespace {

TEST(SecurityTableTest, IsTheDetectionMatrix) {
  std::ifstream file("SECURITY.md");
  if (!file) GTEST_SKIP() << "there is no SECURITY.md";
  std::stringstream contents;
  contents << file.rdbuf();
  const std::string text = contents.str();
  const size_t start = text.find(kMatrixStart);
  if (start == text.npos) GTEST_SKIP() << "SECURITY.md has no line " << kMatrixStart;
  const size_t first = start + kMatrixStart.size();
  const size_t end = text.find(kMatrixEnd, first);
  ASSERT_NE(end, text.npos) << kMatrixEnd << " is missing";
  EXPECT_EQ(text.find(kMatrixStart, first), text.npos) << "two tables";
  EXPECT_EQ(text.substr(first, end - first), MatrixMarkdown())
      << "put what //tests/detection:print_matrix prints between the markers";
}

}  // namespace
