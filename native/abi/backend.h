// The contract between the engine and a backend: plain C, so that a backend can be a plug-in built by another compiler.
// The engine's worker thread is the only caller after create(); calls come in program order.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Raised with every change of this file and of the inputs, parameters or enum values of an existing op: a plug-in built before would read
// them wrongly. An op that is only appended raises nothing: a plug-in that lacks it answers NS_UNSUPPORTED.
#define NS_ABI_VERSION 3u
#define NS_MAX_DIMS 6

typedef enum NsCode {
  NS_OK = 0,
  NS_INVALID = 1,  // arguments that the caller should have refused
  NS_OUT_OF_MEMORY = 2,
  NS_UNSUPPORTED = 3,  // op, dtype or shape this backend does not do
  NS_INDEX = 4,        // an index tensor holds a value out of range
  NS_INTERNAL = 5,
  NS_CANCELLED = 6,
  NS_IO = 7,
  NS_LOST = 8  // the device is gone; only close() works
} NsCode;

typedef struct NsStatus {
  int32_t code;
  char message[252];
} NsStatus;

// Contiguous, row-major. data == NULL: an absent optional input.
typedef struct NsTensor {
  void* data;
  int32_t dtype;
  int32_t ndim;
  int64_t dims[NS_MAX_DIMS];
} NsTensor;

typedef struct NsCall {
  int32_t op;  // ns::op::<name>::kId
  int32_t n_in;
  int32_t n_out;
  const NsTensor* in;
  const NsTensor* out;
  const void* params;  // ns::op::<name>::Params
} NsCall;

typedef struct NsConfig {
  int32_t threads;  // 0: all cores
  int32_t device_index;
  const char* options;  // JSON, backend-specific, may be NULL
} NsConfig;

typedef struct NsBackend {
  uint32_t abi_version;
  uint32_t struct_size;
  const char* name;
  void* (*create)(const NsConfig* config, NsStatus* status);
  void (*destroy)(void* self);
  void* (*alloc)(void* self, size_t bytes, NsStatus* status);  // at least 64-byte aligned
  void (*release)(void* self, void* data, size_t bytes);
  void (*upload)(void* self, void* dst, const void* src, size_t bytes, NsStatus* status);
  void (*download)(void* self, void* dst, const void* src, size_t bytes, NsStatus* status);
  void (*execute)(void* self, const NsCall* call, NsStatus* status);
  void (*synchronize)(void* self, NsStatus* status);
  // JSON text describing device, instruction set, threads; valid until destroy().
  const char* (*describe)(void* self);

  // What follows may be NULL: the engine then does without.
  // Says without opening anything whether a device is there: NS_OK, or the reason for a person to read. Called from any thread.
  void (*probe)(NsStatus* status);
  // A copy that is taken in program order while later commands run on: begin returns a ticket (src NULL: a mark in the stream without a
  // copy), or NULL and NS_OK where there is nothing to wait for: the caller then downloads or synchronizes; finish, called from another
  // thread, waits for it, fills dst (NULL: drops the copy), frees the ticket and tells what went wrong on the device up to that point.
  void* (*copy_begin)(void* self, const void* src, size_t bytes, NsStatus* status);
  void (*copy_finish)(void* self, void* ticket, void* dst, size_t bytes, NsStatus* status);
  // Between graph_begin and graph_end execute() records instead of running; the graph uses the same memory at every launch. graph_end
  // returns NULL and a status where the device cannot record what was executed.
  void (*graph_begin)(void* self, NsStatus* status);
  void* (*graph_end)(void* self, NsStatus* status);
  void (*graph_launch)(void* self, void* graph, NsStatus* status);
  void (*graph_release)(void* self, void* graph);
} NsBackend;

#ifdef __cplusplus
}
#endif
