#include "cuda/common/graphs.h"

namespace ns::cuda {

Status Graphs::begin() {
  if (device_.capturing) return failure(NS_INVALID, "a graph is being recorded already");
  // Before it begins: a query of the stream by another thread would end the capture. Relaxed, so that this thread may allocate and load.
  device_.capturing = true;
  const Status s = device_.note(cudaStreamBeginCapture(device_.compute, cudaStreamCaptureModeRelaxed), "graph begin");
  device_.capturing = s.ok();
  if (s.ok()) scratch_.hold();
  return s;
}

cudaGraphExec_t Graphs::end(Status& status) {
  if (!device_.capturing) return status = failure(NS_INVALID, "no graph is being recorded"), nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaError_t e = cudaStreamEndCapture(device_.compute, &graph);
  device_.capturing = false;
  if (e == cudaSuccess && graph) e = cudaGraphInstantiate(&executable, graph, 0);
  if (graph) cudaGraphDestroy(graph);
  status = device_.note(e, "graph end");
  if (status.ok() && executable) return executable;
  if (status.ok()) status = failure(NS_INTERNAL, "the recorded work is no graph");
  scratch_.letGo();
  return nullptr;
}

void Graphs::release(cudaGraphExec_t graph) {
  if (!graph) return;
  device_.note(cudaStreamSynchronize(device_.compute), "graph release");  // it may be running
  device_.note(cudaGraphExecDestroy(graph), "graph release");
  scratch_.letGo();
}

}  // namespace ns::cuda
