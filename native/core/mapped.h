// A range of a file in memory. Files are shared by path and identity, so that many tensors cost one descriptor.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "native/abi/status.h"

namespace ns::core {

class File {
 public:
  static std::shared_ptr<File> open(const std::string& path, Status& status);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int64_t size() const;  // as of this moment; -1 on error
  bool same(const std::string& path) const;
  int descriptor() const { return fd_; }
  const std::string& path() const { return path_; }

 private:
  explicit File(std::string path) : path_(std::move(path)) {}
  std::string path_;
  int fd_ = -1;
  uint64_t device_ = 0, inode_ = 0;
};

// Private and writable: an op that works in place changes its own copy of the page, never the file.
class Mapping {
 public:
  static std::unique_ptr<Mapping> create(std::shared_ptr<File> file, uint64_t offset, size_t bytes, Status& status);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  void* data() const { return static_cast<char*>(base_) + skip_; }
  // Touching a page behind the end of a shrunk file would be SIGBUS: this is asked before every use.
  bool intact(Status& status) const;

 private:
  Mapping() = default;
  std::shared_ptr<File> file_;
  void* base_ = nullptr;
  size_t length_ = 0, skip_ = 0;
  uint64_t end_ = 0;
};

// Open files of one engine.
class Files {
 public:
  std::shared_ptr<File> open(const std::string& path, Status& status);

 private:
  std::map<std::string, std::weak_ptr<File>> open_;
  size_t sweepAt_ = 64;
};

}  // namespace ns::core
