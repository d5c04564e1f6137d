/* Exports the symbol of another major version. */
#define SYMBOL tether_connector_v2
#include "base.h"
#include "entry.h"
