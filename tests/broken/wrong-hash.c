/* Its hash differs from that in its manifest. */
#include "base.h"
#include "entry.h"
