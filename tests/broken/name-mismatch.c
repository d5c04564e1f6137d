/* Has another name than its manifest. */
#define DESCRIBED_NAME "another"
#include "base.h"
#include "entry.h"
