"""Inputs: pictures, feature maps, network layers and sentences as tensors.

    from poolviz.inputs.images import digit
    from poolviz.inputs.features import edge_map
    edge_map(digit(0)).values.shape        # torch.Size([8, 8, 8]): eight edge channels of 8x8

images.py    all sources of pictures: samples.py, uploads.py, entered.py (grid, drawing) -> Picture (picture.py)
features.py  Picture -> FeatureMap, by filters that need no training
models.py    Picture -> FeatureMap, by a layer of a torchvision model whose weights are at hand
sentences.py examples, one's own lines, CoLA; grammar.py minimal pairs that a small grammar makes
encoder.py   sentence -> word pieces and every layer's embeddings; encoder_files.py the packaged encoder

This package knows nothing of pages, charts, pooling or training, and imports none of its modules by itself:
the first paint of the app must not wait for what it does not use.
"""
