// json_pattern.cc: a document of 6 MB becomes a tree of small nodes, and text
// again.
//
// Every value, key and string is a block of its own, as in a parser that owns
// what it read. The text comes and goes in memory outside the heap.

#include "patterns.h"

namespace bench {
namespace {

constexpr size_t kDocumentSize = 6'000'000;

// Text: a fixed stretch of memory that is written from its start.
class Text {
 public:
  explicit Text(size_t capacity) : bytes_(capacity) {}

  void Put(char byte) {
    if (size_ == bytes_.size()) Die("the document does not fit");
    bytes_[size_++] = byte;
  }
  void Put(const char* bytes) {
    while (*bytes != 0) Put(*bytes++);
  }
  void PutNumber(uint32_t number) {
    if (number >= 10) PutNumber(number / 10);
    Put(static_cast<char>('0' + number % 10));
  }
  void Clear() { size_ = 0; }
  const char* begin() { return bytes_.begin(); }
  size_t size() const { return size_; }

 private:
  Array<char> bytes_;
  size_t size_ = 0;
};

// Node: a value; the members of an object and the items of an array are a list.
struct Node {
  enum class Kind : uint8_t { kNumber, kString, kArray, kObject };
  Kind kind;
  char* key;     // null outside an object
  char* string;  // of kNumber and kString, as written
  Node* first;   // of kArray and kObject
  Node* next;
};

// Writes people with addresses, tags and readings until the document is full.
void Generate(Text& text) {
  Random random(50);
  text.Put('[');
  for (uint32_t i = 0; text.size() + 1000 < kDocumentSize; ++i) {
    if (i != 0) text.Put(',');
    text.Put("{\"id\":");
    text.PutNumber(i);
    text.Put(",\"name\":\"");
    for (uint32_t length = random.Between(3, 30); length > 0; --length) {
      text.Put(static_cast<char>('a' + random.Below(26)));
    }
    text.Put("\",\"address\":{\"street\":\"");
    for (uint32_t length = random.Between(8, 60); length > 0; --length) {
      text.Put(static_cast<char>('a' + random.Below(26)));
    }
    text.Put("\",\"zip\":");
    text.PutNumber(random.Below(100'000));
    text.Put("},\"tags\":[");
    for (uint32_t count = random.Below(6); count > 0; --count) {
      text.Put("\"tag");
      text.PutNumber(random.Below(1000));
      text.Put(count == 1 ? "\"" : "\",");
    }
    text.Put("],\"readings\":[");
    for (uint32_t count = random.Below(12); count > 0; --count) {
      text.PutNumber(random.Below(1'000'000));
      if (count > 1) text.Put(',');
    }
    text.Put("]}");
  }
  text.Put(']');
}

// Parser: builds the tree of a document that Generate or Write made.
class Parser {
 public:
  Parser(const char* begin, size_t size) : at_(begin), end_(begin + size) {}

  Node* ParseValue() {
    Node* node = reinterpret_cast<Node*>(TakeCounted(sizeof(Node)));
    *node = {Node::Kind::kNumber, nullptr, nullptr, nullptr, nullptr};
    switch (Peek()) {
      case '{':
        node->kind = Node::Kind::kObject;
        ParseList(node, '}');
        break;
      case '[':
        node->kind = Node::Kind::kArray;
        ParseList(node, ']');
        break;
      case '"':
        node->kind = Node::Kind::kString;
        node->string = ParseString();
        break;
      default: {
        const char* start = at_;
        while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
        node->string = Copy(start);
      }
    }
    return node;
  }

  // What was allocated so far.
  const Work& work() const { return work_; }

 private:
  char Peek() const {
    if (at_ >= end_) Die("the document ends early");
    return *at_;
  }

  void Expect(char byte) {
    if (Peek() != byte) Die("the document is broken");
    ++at_;
  }

  char* TakeCounted(size_t size) {
    ++work_.operations;
    work_.bytes += static_cast<int64_t>(size);
    return Take(size);
  }

  // Returns: the bytes from `start` to here, with a zero behind them.
  char* Copy(const char* start) {
    const size_t length = static_cast<size_t>(at_ - start);
    if (length == 0) Die("the document is broken");
    char* copy = TakeCounted(length + 1);
    memcpy(copy, start, length);
    copy[length] = 0;
    return copy;
  }

  char* ParseString() {
    Expect('"');
    const char* start = at_;
    while (Peek() != '"') ++at_;
    char* string = Copy(start);
    ++at_;
    return string;
  }

  void ParseList(Node* parent, char close) {
    ++at_;
    Node** last = &parent->first;
    while (Peek() != close) {
      if (parent->first != nullptr) Expect(',');
      char* key = nullptr;
      if (parent->kind == Node::Kind::kObject) {
        key = ParseString();
        Expect(':');
      }
      *last = ParseValue();
      (*last)->key = key;
      last = &(*last)->next;
    }
    ++at_;
  }

  const char* at_;
  const char* end_;
  Work work_;
};

void PutQuoted(Text& text, const char* string) {
  text.Put('"');
  text.Put(string);
  text.Put('"');
}

void Write(Text& text, const Node* node) {
  if (node->key != nullptr) {
    PutQuoted(text, node->key);
    text.Put(':');
  }
  switch (node->kind) {
    case Node::Kind::kNumber:
      text.Put(node->string);
      return;
    case Node::Kind::kString:
      PutQuoted(text, node->string);
      return;
    case Node::Kind::kArray:
    case Node::Kind::kObject:
      const bool is_object = node->kind == Node::Kind::kObject;
      text.Put(is_object ? '{' : '[');
      for (const Node* child = node->first; child != nullptr; child = child->next) {
        if (child != node->first) text.Put(',');
        Write(text, child);
      }
      text.Put(is_object ? '}' : ']');
  }
}

void Delete(Node* node) {
  while (node != nullptr) {
    Node* next = node->next;
    Delete(node->first);
    free(node->key);
    free(node->string);
    free(node);
    node = next;
  }
}

}  // namespace

void Json(Stopwatch& watch) {
  Text document(kDocumentSize);
  Text copy(kDocumentSize);
  Generate(document);
  watch.Repeat([&] {
    Parser parser(document.begin(), document.size());
    Node* root = parser.ParseValue();
    copy.Clear();
    Write(copy, root);
    if (copy.size() != document.size() ||
        memcmp(copy.begin(), document.begin(), copy.size()) != 0) {
      Die("the document changed");
    }
    Delete(root);
    return parser.work();
  });
}

}  // namespace bench
