"""Every source of pictures under one name: `from poolviz.inputs import images`, then `images.digit(3)`.

Each function returns a `Picture` or raises `InputError`, whose message is one sentence for a student. Heavy packages
are imported where they are used, so that the first paint of the app does not wait for them.
"""

from poolviz.inputs.entered import (
    GRID_LIMIT,
    GRID_SIDES,
    GRID_TEXT_LIMIT,
    drawing,
    drawing_from_text,
    drawing_to_text,
    grid,
    grid_from_text,
    grid_to_text,
)
from poolviz.inputs.picture import MIN_SIDE, InputError, Picture
from poolviz.inputs.samples import (
    DIGIT_COUNT,
    IDX_FILES,
    IDX_FOLDERS,
    PHOTOGRAPHS,
    digit,
    digit_label,
    mnist,
    mnist_label,
    mnist_root,
    photograph,
)
from poolviz.inputs.uploads import (
    UPLOAD_FORMATS,
    UPLOAD_MAX_BYTES,
    UPLOAD_MAX_PIXELS,
    UPLOAD_MAX_SIDE,
    upload,
)

__all__ = [
    "DIGIT_COUNT",
    "GRID_LIMIT",
    "GRID_SIDES",
    "GRID_TEXT_LIMIT",
    "IDX_FILES",
    "IDX_FOLDERS",
    "MIN_SIDE",
    "PHOTOGRAPHS",
    "UPLOAD_FORMATS",
    "UPLOAD_MAX_BYTES",
    "UPLOAD_MAX_PIXELS",
    "UPLOAD_MAX_SIDE",
    "InputError",
    "Picture",
    "digit",
    "digit_label",
    "drawing",
    "drawing_from_text",
    "drawing_to_text",
    "grid",
    "grid_from_text",
    "grid_to_text",
    "mnist",
    "mnist_label",
    "mnist_root",
    "photograph",
    "upload",
]
