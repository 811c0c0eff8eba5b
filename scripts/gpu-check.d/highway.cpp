// What the library of Highway would hold, where the addon is compiled with its headers alone (NEXTSCALE_HWY_INCLUDE): the one set of
// instructions that this machine's compiler chose.
#include "hwy/targets.h"

namespace hwy {

int64_t SupportedTargets() { return HWY_TARGETS; }

ChosenTarget& GetChosenTarget() {
  static ChosenTarget chosen;
  return chosen;
}

}  // namespace hwy
