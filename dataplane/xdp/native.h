// Can a device's driver run XDP programs itself?
#pragma once

namespace linimo::xdp {

/// Tries it with a program that passes every packet, for a moment; where a program is attached already, there
/// is no doubt. Any thread.
bool takes_native_xdp(int device_index);

}  // namespace linimo::xdp
