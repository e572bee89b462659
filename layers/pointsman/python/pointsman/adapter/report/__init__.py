"""Reports on an adapter and its Envoys: metrics, pages, rejections."""
