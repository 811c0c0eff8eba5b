// Recorded work: what execute() enqueues between begin() and end(), launched as one.
#pragma once
#include "cuda/common/scratch.h"

namespace ns::cuda {

class Graphs {
 public:
  Graphs(Device& device, StreamScratch& scratch) : device_(device), scratch_(scratch) {}
  Status begin();
  // Null and a status where what was enqueued cannot be a graph.
  cudaGraphExec_t end(Status& status);
  Status launch(cudaGraphExec_t graph) { return device_.note(cudaGraphLaunch(graph, device_.compute), "graph launch"); }
  void release(cudaGraphExec_t graph);

 private:
  Device& device_;
  StreamScratch& scratch_;
};

}  // namespace ns::cuda
