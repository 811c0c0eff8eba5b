#include "native/core/mapped.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>

namespace ns::core {

namespace {

// The end of a path, so that a message has room for the reason behind it.
std::string shown(const std::string& path) {
  constexpr size_t kLength = 120;
  return path.size() <= kLength ? path : "..." + path.substr(path.size() - kLength);
}

}  // namespace

std::shared_ptr<File> File::open(const std::string& path, Status& status) {
  std::shared_ptr<File> file(new File(path));
  // Without O_NONBLOCK a FIFO that nobody writes to would hold the worker for ever.
  file->fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (file->fd_ < 0 || fstat(file->fd_, &info) != 0) {
    status = failure(NS_IO, "cannot open %s: %s", shown(path).c_str(), std::strerror(errno));
    return nullptr;
  }
  if (!S_ISREG(info.st_mode)) {
    status = failure(NS_IO, "%s is not a regular file", shown(path).c_str());
    return nullptr;
  }
  file->device_ = info.st_dev;
  file->inode_ = info.st_ino;
  return file;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

int64_t File::size() const {
  struct stat info;
  return fstat(fd_, &info) == 0 ? static_cast<int64_t>(info.st_size) : -1;
}

bool File::same(const std::string& path) const {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
}

std::unique_ptr<Mapping> Mapping::create(std::shared_ptr<File> file, uint64_t offset, size_t bytes, Status& status) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const int64_t size = file->size();
  if (size < 0 || bytes == 0 || offset > static_cast<uint64_t>(size) || bytes > static_cast<uint64_t>(size) - offset) {
    status = failure(NS_IO, "%s has %lld bytes, %zu wanted at offset %llu", shown(file->path()).c_str(), static_cast<long long>(size),
                     bytes, static_cast<unsigned long long>(offset));
    return nullptr;
  }
  std::unique_ptr<Mapping> m(new Mapping());
  m->skip_ = offset % page;
  m->length_ = m->skip_ + bytes;
  m->end_ = offset + bytes;
  void* base = mmap(nullptr, m->length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file->descriptor(),
                    static_cast<off_t>(offset - m->skip_));
  if (base == MAP_FAILED) {
    status = failure(errno == ENOMEM ? NS_OUT_OF_MEMORY : NS_IO, "cannot map %s: %s", shown(file->path()).c_str(), std::strerror(errno));
    return nullptr;
  }
  m->base_ = base;
  m->file_ = std::move(file);
  return m;
}

// Unmapping also takes the pages out of the resident set, so weights that were packed do not stay twice in memory.
Mapping::~Mapping() {
  if (base_) munmap(base_, length_);
}

bool Mapping::intact(Status& status) const {
  const int64_t size = file_->size();
  if (size >= 0 && static_cast<uint64_t>(size) >= end_) return true;
  status = failure(NS_IO, "%s has shrunk to %lld bytes, %llu are needed", shown(file_->path()).c_str(), static_cast<long long>(size),
                   static_cast<unsigned long long>(end_));
  return false;
}

std::shared_ptr<File> Files::open(const std::string& path, Status& status) {
  auto found = open_.find(path);
  if (found != open_.end()) {
    auto file = found->second.lock();
    if (file && file->same(path)) return file;
    open_.erase(found);
  }
  auto file = File::open(path, status);
  if (!file) return file;
  // Entries of files that are closed again are swept out once they may be the greater part.
  if (open_.size() >= sweepAt_) {
    for (auto it = open_.begin(); it != open_.end();) it = it->second.expired() ? open_.erase(it) : std::next(it);
    sweepAt_ = 2 * open_.size() + 64;
  }
  open_[path] = file;
  return file;
}

}  // namespace ns::core
