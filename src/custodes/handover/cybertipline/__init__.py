"""Reports to NCMEC's CyberTipline: what is said, checked before it is sent, and filed once whatever breaks."""
