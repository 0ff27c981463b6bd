// The detection matrix as Markdown, for SECURITY.md.

#ifndef TESTS_DETECTION_MATRIX_MARKDOWN_H_
#define TESTS_DETECTION_MATRIX_MARKDOWN_H_

#include <string>
#include <string_view>

// Where SECURITY.md keeps it. Each marker stands on a line of its own.
inline constexpr std::string_view kMatrixStart = "<!-- detection matrix -->\n";
inline constexpr std::string_view kMatrixEnd = "<!-- /detection matrix -->";

// One table for each group of rows, one column for each level that is built.
std::string MatrixMarkdown();

#endif  // TESTS_DETECTION_MATRIX_MARKDOWN_H_
