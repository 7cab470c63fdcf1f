"""The tabs, one file each. Programs' part of a tab is here; the browser's is page/front/tabs/NAME.js, by the tab's name."""

from . import generate, interpolate, out_of_distribution, reconstruct, training

# In the order in which they are shown. A new tab is named here.
TABS = (generate, reconstruct, interpolate, out_of_distribution, training)
