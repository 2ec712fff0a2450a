/* Two GPUs, as NVIDIA's management library tells of them; the second one has been lost. */
#include <stdio.h>

typedef struct { unsigned int gpu, memory; } rates_t;
typedef struct { unsigned long long total, free, used; } memory_t;
enum { OK = 0, NOT_SUPPORTED = 3, LOST = 15 };

int nvmlInit_v2(void) { return OK; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return OK; }
const char *nvmlErrorString(int result) { (void)result; return "an error"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{ *device = (void *)(unsigned long)(index + 1); return index ? LOST : OK; }
int nvmlDeviceGetUtilizationRates(void *device, rates_t *rates)
{ (void)device; rates->gpu = 37; rates->memory = 5; return OK; }
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory)
{ (void)device; memory->total = 80ull << 30; memory->used = 3ull << 30; memory->free = 77ull << 30; return OK; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned int size)
{ (void)device; snprintf(text, size, "GPU-1"); return OK; }
typedef struct { char legacy[16]; unsigned int domain, bus, device, pci, sub; char id[32]; } pci_t;
int nvmlDeviceGetPciInfo_v3(void *device, pci_t *pci)
{ (void)device; snprintf(pci->id, sizeof pci->id, "00000000:3B:00.0"); return OK; }
int nvmlDeviceGetName(void *device, char *text, unsigned int size)
{ (void)device; snprintf(text, size, "Some GPU"); return OK; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius)
{ (void)device; (void)sensor; (void)celsius; return NOT_SUPPORTED; }
