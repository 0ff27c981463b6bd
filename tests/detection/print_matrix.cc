// print_matrix: prints the guarantee table of SECURITY.md, to be placed between its markers.
//
//   bazel run //tests/detection:print_matrix

#include <stdio.h>

#include <string>

#include "tests/detection/matrix_markdown.h"

int main() {
  const std::string text = MatrixMarkdown();
  return fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}
